"""Overlap of two masks, each ``[X, Y, Z]`` boolean; a fraction in [0, 1]."""

from __future__ import annotations

import math

import numpy as np


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """2 |P and R| / (|P| + |R|): MedPy's ``dc``. NaN when both are empty, where it is undefined."""
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2 * _common(prediction, reference) / total if total else math.nan


def jaccard(prediction: np.ndarray, reference: np.ndarray) -> float:
    """|P and R| / |P or R|: MedPy's ``jc``. NaN when both are empty, where it is undefined."""
    union = int(np.count_nonzero(prediction | reference))
    return _common(prediction, reference) / union if union else math.nan


def _common(prediction: np.ndarray, reference: np.ndarray) -> int:
    return int(np.count_nonzero(prediction & reference))
