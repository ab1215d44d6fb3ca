"""Scans and label maps, read through one guard and written, whatever their format.

Every reader returns voxels indexed ``[X, Y, Z]`` in the file's own axis order and an affine to
RAS+ millimetres, whatever convention the format keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.formats import nifti
from simcvd.formats.guard import check_affine, check_claims, check_openable, readable
from simcvd.formats.record import Format, Header, What
from simcvd.formats.table import FORMATS, find_format, format_of, suffix_of
from simcvd.types import Segment, SimcvdError, Volume


def read_image(path: Path | str, *, channels: int = 1) -> Volume:
    """Read one scan as float32 ``[C, X, Y, Z]`` with its RAS+ affine.

    NIfTI: sform, else qform. NRRD, MHA, MHD: LPS turned into RAS. h5: the LA benchmark's
    ``image``. DICOM: a folder with one series, ``folder#SeriesInstanceUID`` where it holds
    several, or any file of the series. A file with a fourth axis is read as channels only if that
    has exactly `channels` entries, which must be declared (Decathlon's ``modality``).
    Raises SimcvdError for a file that is empty, damaged, 2D, 4D, or not finite, or whose header
    claims what no file of its size, no scan or no machine can hold.
    """
    volume = read_voxels(path, "image", channels=channels)
    _check_finite(Path(path), volume.array)
    return volume


def read_voxels(path: Path | str, what: What, *, channels: int = 1) -> Volume:
    """``[C, X, Y, Z]`` as it stands in the file, NaN and all, for `simcvd check`.

    Images are float32; labels that are stored as integers stay integers. what: also which of the
    two an h5 file gives. Raises as `read_image`.
    """
    path = Path(path)
    kind = _checked(path)
    with readable(path):
        header = _header(kind, path, what)
        found = kind.voxels(path, header)
        array = _channels_first(path, found.array, channels, what)
        check_affine(path, found.affine, array.shape[1:])
    if what == "image" or array.dtype.kind not in "iu":
        array = array.astype(np.float32, copy=False)
    return Volume(
        array=array,
        affine=found.affine,
        notes=(*header.notes, *found.notes),
        segments=header.segments,
        partial=header.partial and what == "label",
    )


def read_label(path: Path | str) -> Volume:
    """Read one label map as integers ``[X, Y, Z]``, the values as they stand in the file.

    ``segments`` are the names that the file itself gives them (``.seg.nrrd``, DICOM SEG); see
    `by_name`. Raises SimcvdError like `read_image`, and for values that are not whole numbers.
    """
    path = Path(path)
    volume = read_voxels(path, "label")
    return replace(volume, array=_whole(path, volume.array[0]))


def segments_of(path: Path | str) -> tuple[Segment, ...]:
    """The names that a label file gives to its values; () where it names none. Reads no voxels."""
    kind = find_format(Path(path))
    return read_header(path, "label").segments if kind and kind.names_classes else ()


def read_header(path: Path | str, what: What = "image") -> Header:
    """What a file says of its voxels, held against its size and sense; reads no voxels."""
    path = Path(path)
    kind = _checked(path)
    with readable(path):
        return _header(kind, path, what)


def _header(kind: Format, path: Path, what: What) -> Header:
    header = kind.header(path, what)
    check_claims(path, header)
    return header


def _checked(path: Path) -> Format:
    """The format of a path that may be opened."""
    addressed = not path.exists() and not suffix_of(path) and find_format(path)  # folder#UID
    if not (path.is_dir() or addressed):
        check_openable(path)
    return format_of(path)


def _whole(path: Path, array: np.ndarray) -> np.ndarray:
    """Integers, int32 where they fit."""
    if array.dtype.kind not in "iu":
        _check_finite(path, array)
        whole = np.rint(array)
        if not np.array_equal(whole, array):
            value = array[whole != array].flat[0]
            raise SimcvdError(
                f"{path}: a label map must hold whole numbers, but holds {value:g}. "
                "Export the labels as integers, without interpolation."
            )
        array = whole
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < -(2**31) or high >= 2**31:
        raise SimcvdError(
            f"{path}: holds values from {low} to {high}, which are no classes. Is it a label map?"
        )
    return array.astype(np.int32)


def write_label(
    path: Path | str,
    array: np.ndarray,
    affine: np.ndarray,
    like: Path | None = None,
    names: Mapping[int, str] | None = None,
) -> None:
    """Write labels ``[X, Y, Z]`` in the format of the ending (else NIfTI), whole or not at all.

    affine: ``[4, 4]`` RAS+. like: a file of that format whose geometry is kept as it is written
    there (of a NIfTI sform and qform, their codes, units), so that the result overlays it in every
    viewer. names: {value: class}, kept where the format has a place for them. Raises SimcvdError
    when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    suffix = suffix_of(path)
    kind = next((k for k in FORMATS if suffix in k.suffixes and k.writer), nifti.NIFTI)
    assert kind.writer is not None
    kind.writer(like)(path, small(array), affine, names or {})


def write_image(
    path: Path | str, array: np.ndarray, affine: np.ndarray, like: Path | None = None
) -> None:
    """Write a scan ``[C, X, Y, Z]`` as float32 NIfTI, channels last; else as `write_label`."""
    channels = np.moveaxis(array.astype(np.float32), 0, -1)
    array = channels[..., 0] if len(array) == 1 else channels
    nifti.save(Path(path), nifti.image_like(array, affine, like))


def small(array: np.ndarray) -> np.ndarray:
    """Labels in the smallest of uint8, int16 and int32 that holds them."""
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    dtype: type[Any] = np.int16 if max(-low - 1, high) < 2**15 else np.int32
    return array.astype(np.uint8 if low >= 0 and high <= 255 else dtype)


def _channels_first(path: Path, array: np.ndarray, channels: int, what: What) -> np.ndarray:
    """``[X, Y, Z]`` or ``[X, Y, Z, C]`` to ``[C, X, Y, Z]``; anything else is refused.

    Axes of length 1 after the third say nothing and are dropped.
    """
    array = array.reshape(*array.shape[:3], *(n for n in array.shape[3:] if n > 1))
    shape = array.shape
    if array.ndim == 3:
        array = array[..., None]
    if what == "label" and array.ndim == 4 and array.shape[-1] > channels:
        raise SimcvdError(
            f"{path}: holds {array.shape[-1]} layers or channels, a 4D file of shape {shape}, but "
            "a label map is a 3D volume in which a voxel has one class; layers may overlap. "
            "Export one label map."
        )
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
