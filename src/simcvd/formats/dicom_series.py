"""A DICOM series as one volume on an orthogonal, evenly spaced grid.

Slices are ordered by their position in the patient, never by file name or number. What
cannot be put right without inventing data (missing slices, several scans in one series)
is refused; what can (gantry tilt, uneven spacing, doubled slices) is put right and said.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.formats.child import ask
from simcvd.formats.dicom_files import (
    Series,
    files_below,
    find_series,
    is_dicom,
    split_address,
)
from simcvd.formats.dicom_tags import Slice, dataset, read_tags
from simcvd.formats.geometry import affine_of
from simcvd.formats.guard import check_memory
from simcvd.formats.record import Format, Header, Voxels, What
from simcvd.types import SimcvdError

# Distances between slices may differ from their median by this share before they are uneven.
EVEN = 0.01
# A gap of this many steps or more means that slices are missing.
GAP = 1.5
# Sideways shifts over the whole scan below this many pixels are rounding, not gantry tilt.
SHEAR = 0.1
# Gantries tilt by up to 30 degrees; what leans further is no stack of slices.
STEEPEST = 45.0
# Transfer syntaxes whose voxels are plain numbers.
PLAIN = {
    *("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"),
    *("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"),
}
Notes = tuple[str, ...]


def is_series(path: Path) -> bool:
    """Whether a path can name a series: a folder, ``folder#UID``, or one of its files."""
    folder, uid = split_address(path)
    return uid is not None or folder.is_dir() or (path.is_file() and is_dicom(path))


def series_at(path: Path) -> Series:
    """The series that a folder holds, that ``folder#UID`` names, or that a file belongs to.

    Raises SimcvdError if there is none or more than one, or if a file there is damaged.
    """
    folder, uid = split_address(path)
    if path.is_file():
        folder, uid = path.parent, read_tags(path).uid
        files = sorted(p for p in folder.iterdir() if p.is_file() and is_dicom(p))
    else:
        files = [p for p in files_below(folder) if is_dicom(p)]
    found = find_series(files)
    fitting = [s for s in found.series if uid is None or uid in {one.uid for one in s.slices}]
    if problems := dict.fromkeys(p for series in fitting for p in series.problems):
        raise SimcvdError("\n".join(problems))
    if not fitting:
        raise SimcvdError(f"{path}: holds no DICOM series. Give the folder of one series.")
    if len(fitting) > 1:
        names = ", ".join(f"{s.path} ({len(s.slices)} files)" for s in fitting[:5])
        raise SimcvdError(
            f"{path}: holds {len(fitting)} DICOM series: {names}. Give one of these paths."
        )
    return fitting[0]


def files_of(path: Path) -> list[Path]:
    """Every DICOM file below the folder of a series that has it alone, else its own files."""
    if path.is_dir():
        return [file for file in files_below(path) if is_dicom(file)]
    return [one.path for one in series_at(path).slices]


def read_header(path: Path, what: What = "image") -> Header:
    """What the tags of a series say; its slices are read later.

    Raises SimcvdError as `series_at` does, and for slices that make up no volume.
    """
    series = series_at(path)
    _check_slices(series)
    first = series.slices[0]
    axes, steps = _axes(first)
    depths = np.unique(np.round([np.dot(s.position, axes[:, 2]) for s in series.slices], 3))
    step = float(np.median(np.diff(depths))) if len(depths) > 1 else 1.0
    return Header(
        shape=(first.size[1], first.size[0], len(series.slices)),
        dtype=np.dtype(np.float32),
        affine=affine_of(axes * [*steps, step], np.array(first.position)),
        modality=first.modality,
        source=series,
    )


def read_voxels(path: Path, header: Header) -> Voxels:
    """Float32 ``[X, Y, Z]``: X runs along the slices' rows, Z along their normal.

    Raises SimcvdError for slices that make up no volume, each time with what to do.
    """
    series: Series = header.source
    slices, planes, notes = _ordered(series)
    _check_gaps(series, slices)
    positions = np.array([one.position for one in slices])
    axes, steps = _axes(slices[0])
    sideways = (positions - positions[0]) @ axes[:, :2] / steps
    stack = np.stack([plane.T for plane in planes]).T  # each slice stays in one piece of memory
    shift = np.zeros(2)
    if np.ptp(sideways, axis=0).max() > SHEAR:
        stack, shift, note = _upright(series, stack, sideways, positions, axes)
        notes += note
    stack, step, note = _even(series, stack, positions @ axes[:, 2])
    affine = affine_of(axes * [*steps, step], positions[0] + axes[:, :2] @ (shift * steps))
    return Voxels(array=stack, affine=affine, notes=notes + note)


def _check_slices(series: Series) -> None:
    """Refuse what makes up no volume, with what to do about it."""
    slices, path = series.slices, series.path
    if any(one.colour for one in slices):
        raise SimcvdError(f"{path}: a colour series; a scan with one intensity a voxel is needed.")
    if any(one.frames > 1 for one in slices):
        raise SimcvdError(
            f"{path}: a multi-frame (enhanced) file of {slices[0].frames} frames; simcvd reads "
            "one file a slice. Convert it to NIfTI, for example with dcm2niix."
        )
    if len(slices) < 2:
        raise SimcvdError(f"{path}: a 2D image (one slice), but a 3D volume is needed.")
    if lost := [s.path for s in slices if not (s.position and s.orientation and s.spacing)]:
        raise SimcvdError(
            f"{path}: {len(lost)} of {len(slices)} files, such as {lost[0].name}, do not say "
            "where they lie (ImagePositionPatient, ImageOrientationPatient, PixelSpacing), so "
            "their order is unknown. Export the original series."
        )
    if wrong := [s.path for s in slices if not _upright_axes(s)]:
        raise SimcvdError(
            f"{path}: {len(wrong)} of {len(slices)} files, such as {wrong[0].name}, give rows and "
            "columns of no length or not at right angles. Export the original series."
        )
    kinds = Counter((s.size, tuple(np.round((*s.orientation, *s.spacing), 3))) for s in slices)
    if len(kinds) > 1:
        counts = ", ".join(map(str, sorted(kinds.values(), reverse=True)))
        raise SimcvdError(
            f"{path}: slices of {len(kinds)} sizes, orientations or pixel spacings in one "
            f"series ({counts} slices). Put each into a folder of its own, as its own series."
        )


def _upright_axes(one: Slice) -> bool:
    """Whether rows and columns are of length 1 and at right angles, and pixels of some size."""
    row, column = np.array(one.orientation).reshape(2, 3)
    wanted = [row @ row - 1, column @ column - 1, row @ column]
    return bool(np.abs(wanted).max() < 0.1 and min(one.spacing) > 0)


def _axes(one: Slice) -> tuple[np.ndarray, np.ndarray]:
    """Unit axes as columns ``[3, 3]`` (along rows, along columns, normal), LPS; mm in plane."""
    row, column = (_unit(np.array(one.orientation[i : i + 3])) for i in (0, 3))
    normal = _unit(np.cross(row, column))
    column = np.cross(normal, row)  # at a right angle in spite of rounding in the tags
    return np.stack([row, column, normal], axis=1), np.array(one.spacing[::-1])


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit


def _ordered(series: Series) -> tuple[list[Slice], list[np.ndarray], Notes]:
    """Slices and their voxels from the first to the last along the normal, each once."""
    normal = _axes(series.slices[0])[0][:, 2]
    slices: list[Slice] = []
    planes: list[np.ndarray] = []
    doubles = 0
    for one in sorted(series.slices, key=lambda s: float(np.dot(s.position, normal))):
        plane = _voxels(one)
        if slices and np.allclose(one.position, slices[-1].position, atol=1e-3):
            if not np.array_equal(plane, planes[-1]):
                raise SimcvdError(_several_scans(series, slices[-1], one))
            doubles += 1
            continue
        slices.append(one)
        planes.append(plane)
    note = f"{series.path}: {doubles} slices were there twice, voxel by voxel, and count once."
    return slices, planes, (note,) if doubles else ()


def _several_scans(series: Series, first: Slice, second: Slice) -> str:
    return (
        f"{series.path}: {first.path.name} and {second.path.name} lie at one place but differ, so "
        "several scans (phases, echoes, reconstructions) share this series. Put the files of "
        "each into a folder of its own, with a SeriesInstanceUID of its own."
    )


def _voxels(one: Slice) -> np.ndarray:
    """Float32 ``[X, Y]`` of one file, rescaled to the units that it declares.

    Stored numbers are what is rescaled, also those of MONOCHROME1, which only says that a viewer
    shows small ones bright.
    """
    if one.syntax not in PLAIN:
        plane: np.ndarray = ask(one.path, "simcvd.formats.dicom_codec:plane")
        return plane
    data: Any = dataset(one.path)
    stored = _stored(one, data)
    scale, shift = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    return (stored.T.astype(np.float64) * scale + shift).astype(np.float32)


def _stored(one: Slice, data: Any) -> np.ndarray:
    """The integers ``[rows, columns]`` of an uncompressed file, unused high bits put right."""
    bits, used = int(data.BitsAllocated), int(data.get("BitsStored", data.BitsAllocated))
    kind = "i" if data.get("PixelRepresentation", 0) else "u"
    if bits not in (8, 16, 32) or not 1 <= used <= bits:
        raise SimcvdError(f"{one.path}: stores {used} of {bits} bits a voxel, which is not read.")
    order = ">" if one.syntax == "1.2.840.10008.1.2.2" else "<"
    dtype = np.dtype(f"{order}{kind}{bits // 8}")
    rows, columns = one.size
    pixels = bytes(data.get("PixelData", b""))
    if len(pixels) < rows * columns * dtype.itemsize:
        raise SimcvdError(
            f"{one.path}: cannot be read: {len(pixels)} bytes of voxels are there, but "
            f"{rows} x {columns} need more. The file may be truncated; copy it again."
        )
    stored = np.frombuffer(pixels, dtype, rows * columns).reshape(rows, columns)
    return (stored << (bits - used)) >> (bits - used)


def _check_gaps(series: Series, slices: list[Slice]) -> None:
    depth = np.array([s.position for s in slices]) @ _axes(slices[0])[0][:, 2]
    gaps = np.diff(depth)
    if len(gaps) == 0:
        raise SimcvdError(f"{series.path}: a 2D image (one slice), but a 3D volume is needed.")
    step = float(np.median(gaps))
    holes = np.flatnonzero(gaps > GAP * step)
    if len(holes):
        i = int(holes[0])
        missing = int(np.rint(gaps[holes] / step - 1).clip(1).sum())
        raise SimcvdError(
            f"{series.path}: about {missing} slices are missing: slices lie {step:.4g} mm apart, "
            f"but {gaps[i]:.4g} mm between {slices[i].path.name} and {slices[i + 1].path.name}. "
            "Copy the series again from its origin."
        )


def _upright(
    series: Series,
    stack: np.ndarray,
    sideways: np.ndarray,
    positions: np.ndarray,
    axes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Notes]:
    """A sheared stack on an orthogonal grid that holds all of it.

    sideways: ``[N, 2]``, pixels by which each slice is shifted along its own axes.
    Returns the stack, the new corner in pixels of the first slice, and a note.
    """
    depth = positions @ axes[:, 2]
    line = np.outer((depth - depth[0]) / np.ptp(depth), sideways[-1])
    if np.abs(sideways - line).max() > max(SHEAR, 0.01 * np.abs(sideways[-1]).max()):
        raise SimcvdError(
            f"{series.path}: its slices do not lie on one line, so this is no single scan. Put "
            "each stack of slices into a folder of its own, or convert the series to NIfTI."
        )
    direction = _unit(positions[-1] - positions[0])
    angle = np.degrees(np.arccos(np.clip(direction @ axes[:, 2], -1, 1)))
    if angle > STEEPEST:
        raise SimcvdError(
            f"{series.path}: its slices are shifted against each other as if the gantry were "
            f"tilted by {angle:.1f} degrees, which none is. Their positions are wrong; export the "
            "series again."
        )
    low = np.floor(sideways.min(axis=0) + 1e-6)
    size = np.array(stack.shape[:2]) + np.ceil(sideways.max(axis=0) - low - 1e-6).astype(int)
    check_memory(series.path, int(np.prod(size)) * stack.shape[2], stack.itemsize)
    fill = stack.min()
    upright = np.full((*size, stack.shape[2]), fill, np.float32)
    for z, (x, y) in enumerate(sideways - low):
        plane = _shifted(stack[:, :, z] - fill, int(size[0]), float(x))
        upright[:, :, z] += _shifted(plane.T, int(size[1]), float(y)).T
    note = (
        f"{series.path}: gantry tilt of {angle:.1f} degrees; its slices were moved in plane, with "
        f"linear interpolation, onto an orthogonal grid of {size[0]} x {size[1]} pixels."
    )
    return upright, low, (note,)


def _shifted(plane: np.ndarray, size: int, shift: float) -> np.ndarray:
    """`plane` moved by `shift` >= 0 pixels along its first axis, into `size` rows of zeros."""
    whole = int(shift + 1e-6)
    share = np.float32(max(shift - whole, 0.0))
    moved = np.zeros((size + 1, *plane.shape[1:]), np.float32)
    moved[whole : whole + len(plane)] += (1 - share) * plane
    moved[whole + 1 : whole + 1 + len(plane)] += share * plane
    return moved[:size]


def _even(series: Series, stack: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, float, Notes]:
    """The stack at even distances along Z, and that distance in mm."""
    gaps = np.diff(depth)
    if np.abs(gaps - np.median(gaps)).max() <= EVEN * np.median(gaps):
        return stack, float(gaps.mean()), ()
    step = float(np.median(gaps))
    wanted = depth[0] + step * np.arange(int(np.ptp(depth) / step + 1e-3) + 1)
    high = np.searchsorted(depth, wanted, side="left").clip(1, len(depth) - 1)
    share = ((wanted - depth[high - 1]) / gaps[high - 1]).clip(0, 1).astype(np.float32)
    even = stack[:, :, high - 1] * (1 - share) + stack[:, :, high] * share
    note = (
        f"{series.path}: slices lie {gaps.min():.4g} to {gaps.max():.4g} mm apart; they were "
        f"interpolated linearly at {step:.4g} mm."
    )
    return even, step, (note,)


DICOM = Format(
    key="dicom",
    header=read_header,
    voxels=read_voxels,
    recognises=is_series,
    files=files_of,
    answer="dicom-seg",
)
