"""What a file's header says of its geometry, and where it contradicts itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simcvd.data.findings import Kind, Severity
from simcvd.data.io import ITK, NIFTI, spacing_of, suffix_of

# Degrees by which axes may miss the right angle: rounding below the first, wrong above the second.
SKEW_ROUNDING = 0.1
SKEW_WRONG = 1.0
Remark = tuple[Severity, Kind, str]


def axes_findings(path: Path, affine: np.ndarray) -> list[Remark]:
    """Axes that are not at right angles: distances and volumes measured on them are wrong."""
    unit = affine[:3, :3] / spacing_of(affine)
    skew = np.degrees(np.arcsin(np.abs(unit.T @ unit - np.eye(3)).max().clip(0, 1)))
    if skew <= SKEW_ROUNDING:
        return []
    severity: Severity = "error" if skew > SKEW_WRONG else "warning"
    return [
        (
            severity,
            "axes",
            f"{path}: its axes are sheared, {skew:.2g} degrees off the right angle. Resample the "
            "scan to an orthogonal grid, or repair its header.",
        )
    ]


def form_findings(path: Path) -> list[Remark]:
    """NIfTI keeps its geometry twice; programs differ in which of the two they read."""
    if suffix_of(path) not in NIFTI or not path.is_file():
        return []
    import nibabel

    image = nibabel.Nifti1Image.from_filename(str(path))
    sform, qform = (image.header[name] for name in ("sform_code", "qform_code"))
    if sform == 0 and qform == 0:
        return [
            (
                "warning",
                "orientation",
                f"{path}: declares no orientation (sform and qform code are 0), so left and "
                "right are a guess.",
            )
        ]
    if sform == 0 or qform == 0:
        return []
    return _forms_compared(path, image.get_sform(), image.get_qform(), image.shape)


def _forms_compared(
    path: Path, sform: np.ndarray, qform: np.ndarray, shape: tuple[int, ...]
) -> list[Remark]:
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        return [
            (
                "warning",
                "left-right",
                f"{path}: sform and qform are mirror images of each other, so programs show it "
                "with left and right exchanged. simcvd reads the sform.",
            )
        ]
    corner = np.array([*shape[:3], 1.0])
    ends = np.stack([np.eye(4)[3], *(corner * [*axis, 1] for axis in np.eye(3))])
    apart = np.abs((ends @ (sform - qform).T)[:, :3]).max()
    if apart <= 0.5 * min(spacing_of(sform)):
        return []
    return [
        (
            "warning",
            "orientation",
            f"{path}: sform and qform place its voxels up to {apart:.3g} mm apart. simcvd reads "
            "the sform; other programs read the qform.",
        )
    ]


def stored_as_floats(path: Path) -> bool:
    """Whether a file keeps its numbers as floats, or as integers with a scale factor."""
    if suffix_of(path) in NIFTI:
        import nibabel

        header = nibabel.Nifti1Image.from_filename(str(path)).header
        plain = header.get_slope_inter() in ((None, None), (1.0, 0.0))
        return header.get_data_dtype().kind == "f" or not plain
    if suffix_of(path) in ITK:
        import SimpleITK

        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        return reader.GetPixelID() in (SimpleITK.sitkFloat32, SimpleITK.sitkFloat64)
    return False
