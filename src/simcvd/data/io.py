"""Reading and writing scans and label maps in the formats users have.

Every reader returns voxels indexed ``[X, Y, Z]`` in the file's own axis order
and an affine to RAS+ millimetres, whatever convention the format keeps.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from simcvd.data.dicom import is_series, read_series
from simcvd.files import replace_into
from simcvd.types import SimcvdError, Triple, Volume

T = TypeVar("T")

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
HDF5 = (".h5",)
SUFFIXES = NIFTI + ITK + HDF5
# The h5 files of the LA benchmark carry no geometry; the challenge states this spacing.
LA_SPACING: Triple = (0.625, 0.625, 0.625)


def suffix_of(path: Path) -> str:
    """The ending that decides the reader (``.nii.gz`` as one), or ``""`` when none fits."""
    name = path.name.lower()
    return next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(s)), "")


def stem_of(path: Path) -> str:
    """The name without the ending that `suffix_of` finds; ``#`` of a DICOM series becomes ``_``."""
    return path.name[: len(path.name) - len(suffix_of(path))].replace("#", "_")


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


def _triple(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values + 0.0) + ")"


def read_image(path: Path | str, *, channels: int = 1) -> Volume:
    """Read one scan as float32 ``[C, X, Y, Z]`` with its RAS+ affine.

    NIfTI: sform, else qform. NRRD, MHA, MHD: ITK's LPS turned into RAS. h5: the LA
    benchmark's ``image``. DICOM: a folder with one series, ``folder#SeriesInstanceUID``
    where it holds several, or any file of the series. A 4D file is read as channels only
    if its last axis has exactly `channels` entries, which must be declared (Decathlon's
    ``modality``).
    Raises SimcvdError for a file that is empty, truncated, 2D, 4D, or not finite.
    """
    volume = read_voxels(path, "image", channels=channels)
    _check_finite(Path(path), volume.array)
    return volume


def read_voxels(path: Path | str, what: str, *, channels: int = 1) -> Volume:
    """Float32 ``[C, X, Y, Z]`` as it stands in the file, NaN and all, for `simcvd check`.

    what: "image" or "label", which of the two an h5 file gives. Raises as `read_image`.
    """
    path = Path(path)
    array, affine, notes = _read(path, what)
    return Volume(array=_channels_first(path, array, channels), affine=affine, notes=notes)


def read_label(path: Path | str) -> Volume:
    """Read one label map as integers ``[X, Y, Z]``, the values as they stand in the file.

    Raises SimcvdError like `read_image`, and for values that are not whole numbers.
    """
    path = Path(path)
    volume = read_voxels(path, "label")
    array = volume.array[0]
    _check_finite(path, array)
    whole = np.rint(array)
    if not np.array_equal(whole, array):
        value = array[whole != array].flat[0]
        raise SimcvdError(
            f"{path}: a label map must hold whole numbers, but holds {value:g}. "
            "Export the labels as integers, without interpolation."
        )
    return Volume(array=whole.astype(np.int32), affine=volume.affine)


def has_label(path: Path) -> bool:
    """Whether the h5 file of the LA benchmark at `path` holds a ``label``."""
    import h5py

    def look() -> bool:
        with h5py.File(path, "r") as file:
            return "label" in file

    return bool(_guarded(path, look))


def write_label(
    path: Path | str, array: np.ndarray, affine: np.ndarray, like: Path | None = None
) -> None:
    """Write labels ``[X, Y, Z]``, as NIfTI, NRRD or MHA by the ending, whole or not at all.

    affine: ``[4, 4]`` RAS+. like: a file of that format whose geometry is kept as it is written
    there (of a NIfTI sform and qform, their codes, units), so that the result overlays it in every
    viewer. Raises SimcvdError when the disk is full or the folder cannot be written.
    """
    path, array = Path(path), array.astype(_smallest_type(array))
    if suffix_of(path) in ITK:
        _write_itk(path, array, affine, like)
    else:
        _write_nifti(path, array, affine, like)


def write_image(
    path: Path | str, array: np.ndarray, affine: np.ndarray, like: Path | None = None
) -> None:
    """Write a scan ``[C, X, Y, Z]`` as float32 NIfTI, channels last; else as `write_label`."""
    channels = np.moveaxis(array.astype(np.float32), 0, -1)
    _write_nifti(Path(path), channels[..., 0] if len(array) == 1 else channels, affine, like)


def _write_nifti(path: Path, array: np.ndarray, affine: np.ndarray, like: Path | None) -> None:
    import nibabel

    header: Any = None
    if like is not None and suffix_of(like) in NIFTI:
        header = nibabel.Nifti1Image.from_filename(str(like)).header.copy()
        header.set_data_dtype(array.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0  # the scan's display window hides labels
    image = nibabel.Nifti1Image(array, affine, header)
    with replace_into(path) as temporary:
        nibabel.save(image, temporary)


def _write_itk(path: Path, array: np.ndarray, affine: np.ndarray, like: Path | None) -> None:
    import SimpleITK

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = spacing_of(lps)
    geometry = lps[:3, 3].tolist(), spacing, (lps[:3, :3] / spacing).ravel().tolist()
    if like is not None and suffix_of(like) in ITK:
        source = SimpleITK.ImageFileReader()
        source.SetFileName(str(like))
        source.ReadImageInformation()
        if source.GetDimension() == 3:
            geometry = source.GetOrigin(), source.GetSpacing(), source.GetDirection()
    image = SimpleITK.GetImageFromArray(array.T)
    origin, spacing, directions = geometry
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(directions)
    with replace_into(path) as temporary:
        _save_itk(image, temporary)


def _save_itk(image: Any, path: Path) -> None:
    """ITK tells of a full disk by a RuntimeError, or not at all: what was written is read back."""
    import SimpleITK

    try:
        SimpleITK.WriteImage(image, str(path), useCompression=True)
        SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise OSError(" ".join(str(error).split())) from error


def _smallest_type(array: np.ndarray) -> np.dtype[Any]:
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low >= 0 and high <= 255:
        return np.dtype(np.uint8)
    return np.dtype(np.int16) if max(-low - 1, high) < 2**15 else np.dtype(np.int32)


def _read(path: Path, what: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Float32 voxels ``[X, Y, Z]`` or ``[X, Y, Z, C]``, the RAS+ affine, and notes."""
    suffix = suffix_of(path)
    notes: tuple[str, ...] = ()
    if not path.is_file() and not is_series(path):
        raise SimcvdError(f"{path}: there is no such file.")
    if path.is_file() and path.stat().st_size == 0:
        raise SimcvdError(f"{path}: the file is empty (0 bytes). Copy it again from its origin.")
    if not (suffix and path.is_file()) and is_series(path):
        array, affine, notes = read_series(path)
    elif suffix in NIFTI:
        array, affine = _guarded(path, lambda: _read_nifti(path))
    elif suffix in ITK:
        array, affine = _guarded(path, lambda: _read_itk(path))
    elif suffix in HDF5:
        array, affine = _guarded(path, lambda: _read_h5(path, what))
    else:
        raise SimcvdError(f"{path}: unknown format; simcvd reads {', '.join(SUFFIXES)} and DICOM.")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise SimcvdError(
            f"{path}: its affine has no inverse: {affine.tolist()}. Repair the header's geometry."
        )
    return array, affine, notes


def _guarded(path: Path, read: Callable[[], T]) -> T:
    """The result of `read`, any failure of a library turned into one clear sentence."""
    try:
        return read()
    except (SimcvdError, MemoryError):
        raise
    except (OSError, EOFError, zlib.error, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise SimcvdError(_unreadable(path, error)) from error
    except Exception as error:
        if not type(error).__module__.startswith("nibabel"):
            raise
        raise SimcvdError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return (
        f"{path}: cannot be read ({reason}). The file is {path.stat().st_size} bytes; "
        "it may be truncated or of another format. Copy it again from its origin."
    )


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import nibabel

    image = nibabel.Nifti1Image.from_filename(str(path))
    if image.get_data_dtype().fields:
        raise SimcvdError(_colour(path))
    return image.get_fdata(dtype=np.float32, caching="unchanged"), np.array(image.affine)


def _colour(path: Path) -> str:
    return f"{path}: is a colour image; a scan with one intensity a voxel is needed."


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    dimension = image.GetDimension()
    array = SimpleITK.GetArrayFromImage(image)
    # Channels of a scan are never bytes in threes or fours.
    if "8-bit" in image.GetPixelIDTypeAsString() and image.GetNumberOfComponentsPerPixel() in (
        3,
        4,
    ):
        raise SimcvdError(_colour(path))
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)  # components become the last axis once transposed
    if dimension != 3:
        return array.T.astype(np.float32), np.eye(4)
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = directions * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return array.T.astype(np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # LPS -> RAS


def _read_h5(path: Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    import h5py

    with h5py.File(path, "r") as file:
        if what not in file:
            raise SimcvdError(
                f"{path}: has no data set '{what}' (it has: {', '.join(file) or 'none'}). "
                "The LA benchmark's h5 files hold 'image' and 'label'."
            )
        return file[what][()].astype(np.float32), np.diag([*LA_SPACING, 1.0])


def _channels_first(path: Path, array: np.ndarray, channels: int) -> np.ndarray:
    """``[X, Y, Z]`` or ``[X, Y, Z, C]`` to ``[C, X, Y, Z]``; anything else is refused."""
    shape = array.shape
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] != channels or min(shape[:3]) < 2:
        kind = f"{len(shape)}D" if len(shape) != 3 or channels == 1 else "one-channel 3D"
        kind = "2D" if len(shape) == 3 and min(shape) < 2 else kind
        expected = "a 3D volume" if channels == 1 else f"a volume with {channels} channels"
        raise SimcvdError(
            f"{path}: is a {kind} file of shape {shape}, but {expected} is needed. "
            "Split time series, and stack slices, into one volume a scan; channels in one file are "
            "declared in a dataset.json (docs/formats.md)."
        )
    return np.moveaxis(array, -1, 0)


def _check_finite(path: Path, array: np.ndarray) -> None:
    # The float64 sum is finite exactly when all voxels are, and needs no mask of the scan's size.
    if np.isfinite(array.sum(dtype=np.float64)):
        return
    bad = ~np.isfinite(array)
    first = tuple(int(i) for i in np.argwhere(bad)[0][-3:])
    raise SimcvdError(
        f"{path}: {int(bad.sum())} voxels are NaN or infinite, the first at {first}. "
        "Replace them (for example by the scan's minimum) and prepare again."
    )
