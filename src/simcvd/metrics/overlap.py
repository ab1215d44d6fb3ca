"""Overlap of two masks, each ``[X, Y, Z]`` boolean; a fraction in [0, 1]."""

from __future__ import annotations

import math

import numpy as np


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """2 |P and R| / (|P| + |R|): MedPy's ``dc``. NaN when both are empty, where it is undefined.

    Examples:
        Two voxels predicted, one of them rightly: 2 * 1 / (2 + 1).

        >>> prediction = np.array([[[True, True, False]]])
        >>> reference = np.array([[[True, False, False]]])
        >>> round(dice(prediction, reference), 3)
        0.667
    """
    total = int(np.count_nonzero(prediction) + np.count_nonzero(reference))
    return 2 * _common(prediction, reference) / total if total else math.nan


def jaccard(prediction: np.ndarray, reference: np.ndarray) -> float:
    """|P and R| / |P or R|: MedPy's ``jc``. NaN when both are empty, where it is undefined.

    Examples:
        >>> jaccard(np.array([[[True, True, False]]]), np.array([[[True, False, False]]]))
        0.5
    """
    union = int(np.count_nonzero(prediction | reference))
    return _common(prediction, reference) / union if union else math.nan


def _common(prediction: np.ndarray, reference: np.ndarray) -> int:
    return int(np.count_nonzero(prediction & reference))
