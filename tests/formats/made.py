"""One small scan in every format, written by the libraries that users write with."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import SimpleITK
from tests.data.dicom_series import write_series

VOXELS = np.random.default_rng(0).integers(0, 900, (7, 6, 5)).astype(np.int16)
# Turned by 30 degrees in the axial plane, anisotropic, off centre: columns worked out by hand.
OBLIQUE = np.array(
    [
        [np.sqrt(3) / 2 * 0.5, -0.5 * 2.0, 0.0, 10.0],
        [0.5 * 0.5, np.sqrt(3) / 2 * 2.0, 0.0, -20.0],
        [0.0, 0.0, 3.0, 30.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_image(array: np.ndarray = VOXELS, affine: np.ndarray = OBLIQUE) -> SimpleITK.Image:
    """``[X, Y, Z]`` as ITK keeps it: array Z, Y, X and geometry in LPS."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def _nifti(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VOXELS, OBLIQUE), path)


def _pair(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(VOXELS, OBLIQUE), path)


def _nifti2(path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(VOXELS, OBLIQUE), path)


def _itk(path: Path) -> None:
    SimpleITK.WriteImage(itk_image(), str(path), useCompression=False)


def _itk_packed(path: Path) -> None:
    SimpleITK.WriteImage(itk_image(), str(path), useCompression=True)


def _nrrd_bz2(path: Path) -> None:
    import bz2

    _itk(path)
    header, _, data = path.read_bytes().partition(b"\n\n")
    header = header.replace(b"encoding: raw", b"encoding: bzip2")
    path.write_bytes(header + b"\n\n" + bz2.compress(data))


def _h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = VOXELS, VOXELS % 2


def _dicom(path: Path) -> None:
    write_series(path, VOXELS, OBLIQUE)


# name of the file -> who writes it; DICOM is a folder.
WRITERS: dict[str, Callable[[Path], None]] = {
    "a.nii": _nifti,
    "a.nii.gz": _nifti,
    "a.nii.bz2": _nifti,
    "a.hdr": _pair,
    "two.nii.gz": _nifti2,
    "a.mha": _itk,
    "packed.mha": _itk_packed,
    "a.mhd": _itk,
    "packed.mhd": _itk_packed,
    "a.nrrd": _itk,
    "packed.nrrd": _itk_packed,
    "bz2.nrrd": _nrrd_bz2,
    "a.nhdr": _itk,
    "packed.nhdr": _itk_packed,
    "mri_norm2.h5": _h5,
    "dicom": _dicom,
}


def make(folder: Path, name: str) -> Path:
    """The scan in the format of one of `WRITERS`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[name](path)
    return path


def stored(path: Path) -> list[Path]:
    """The files in which voxels lie: of a pair both, of a series one slice."""
    if path.is_dir():
        return sorted(path.iterdir())[2:3]
    return sorted(f for f in path.parent.iterdir() if f.name.startswith(path.name.split(".")[0]))


def regzipped(path: Path, data: bytes) -> Path:
    """A ``.gz`` with sound checksums whatever it holds."""
    path.write_bytes(gzip.compress(data))
    return path
