"""Synthetic DICOM series, written slice by slice with SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_slice(
    path: Path,
    plane: np.ndarray,
    position: Sequence[float],
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing: Sequence[float] = (1, 1),
    **tags: str,
) -> Path:
    """plane: ``[X, Y]`` int16. position, orientation: LPS. spacing: mm along X and Y."""
    image = SimpleITK.GetImageFromArray(plane.T.astype(np.int16))
    image.SetSpacing([float(v) for v in spacing])  # becomes PixelSpacing
    values = {
        "0008|0060": "CT",
        "0010|0020": "P1",
        "0020|000d": "1.2.3",
        "0020|000e": "1.2.3.4",
        "0020|0011": "3",
        "0020|0032": "\\".join(f"{v:.9g}" for v in position),
        "0020|0037": "\\".join(f"{v:.9g}" for v in orientation),
    }
    for name, value in {**values, **{k.replace("x", "|"): v for k, v in tags.items()}}.items():
        image.SetMetaData(name.removeprefix("t"), value)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)
    return path


def write_series(
    folder: Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    shifts: Sequence[Sequence[float]] | None = None,
    **tags: str,
) -> list[Path]:
    """``[X, Y, Z]`` on an affine (RAS+), one file a slice, file names in no order.

    shifts: mm in LPS by which each slice lies elsewhere than the affine says.
    """
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :2], axis=0)
    orientation = (lps[:3, :2] / spacing).T.ravel()
    names = np.random.default_rng(5).permutation(array.shape[2])
    paths = []
    for z, name in enumerate(names):
        position = (lps @ [0, 0, z, 1])[:3] + (shifts[z] if shifts is not None else 0)
        path = folder / f"IM{name:04d}.dcm"
        paths.append(write_slice(path, array[:, :, z], position, orientation, spacing, **tags))
    return paths
