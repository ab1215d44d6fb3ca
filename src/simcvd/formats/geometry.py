"""Affines in the project's one convention: voxel index to millimetres, RAS+."""

from __future__ import annotations

import numpy as np

from simcvd.types import Triple

# DICOM, ITK, MetaImage and NRRD count to the patient's left and back: LPS. Its own inverse.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def spacing_of(affine: np.ndarray) -> Triple:
    """Voxel size in mm along the three array axes: the lengths of the affine's columns."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(x), float(y), float(z)


def describe_affine(affine: np.ndarray) -> str:
    """Spacing, origin and axis directions of an affine in one line, for messages."""
    spacing = np.asarray(spacing_of(affine))
    numbers = [f"spacing {_triple(spacing)} mm", f"origin {_triple(affine[:3, 3])} mm"]
    axes = " ".join(_triple(column) for column in (affine[:3, :3] / spacing).T)
    return ", ".join([*numbers, f"axes {axes}"])


def affine_of(axes: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """``[4, 4]`` RAS+ of axis vectors as columns ``[3, 3]`` and an origin ``[3]``, both in LPS."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, origin
    return LPS @ affine


def _triple(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values + 0.0) + ")"
