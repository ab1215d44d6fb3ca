"""What one scan and its label are found to be, each file read once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from simcvd.checking.audit import Ends, digest, ends
from simcvd.checking.findings import Finding, Notes
from simcvd.checking.places import Place, places_of
from simcvd.data.crop import crop_box, grid_of_box
from simcvd.data.objects import smallest
from simcvd.data.preprocess import canonical
from simcvd.data.reading import (
    GEOMETRY_TOLERANCE,
    OTHER_FILE,
    grid_difference,
    label_on_scan,
    read_case_label,
    same_grid,
    voxels_apart,
)
from simcvd.formats import format_of, read_header, read_voxels, revalued, spacing_of
from simcvd.formats.guard import axes_remarks
from simcvd.layouts.records import SourceCase
from simcvd.preprocessing import Preprocessing
from simcvd.types import IntTriple, Triple, Volume

# Label values this close to whole numbers are whole numbers that a scale factor has blurred.
NEARLY_WHOLE = 1e-3
# Headers that differ by less of a voxel than this are the same numbers, rounded.
ROUNDING = 1e-3
PERCENTILES = (1.0, 50.0, 99.0)
# Labelled voxels kept of a scan; enough for percentiles of a data set.
FOREGROUND = 5000


@dataclass(frozen=True, kw_only=True)
class Question:
    """One scan to be examined. declared: the label values that may occur, None if any may."""

    case: SourceCase
    channels: int
    declared: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """An image in RAS+ axes: voxels, mm, percentiles 1, 50, 99 a channel, hash of its voxels.

    content: size of what `prepare --crop nonzero` keeps.
    """

    shape: IntTriple
    content: IntTriple
    spacing: Triple
    percentiles: tuple[Triple, ...]
    digest: str


@dataclass(frozen=True, kw_only=True)
class LabelFacts:
    """A label: voxels by value, hash of its voxels.

    sides: how far right of the grid's middle each value's centre lies, as a share of its width.
    ends: where the box of everything labelled lies; None for an empty label. smallest: mm3 of the
    smallest object of each value, as the label is on its own grid. places: where each value lies.
    """

    counts: dict[int, int]
    digest: str
    sides: dict[int, float]
    ends: Ends | None
    smallest: dict[int, float] = field(default_factory=dict)
    places: dict[int, Place] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """One scan: what it is, and what is wrong with it by itself.

    foreground: ``[C, n]`` values of labelled voxels, at most some thousands, evenly taken.
    """

    case: SourceCase
    image: ImageFacts | None
    label: LabelFacts | None
    findings: tuple[Finding, ...]
    foreground: np.ndarray | None = field(default=None, compare=False, repr=False)


def examine(question: Question) -> CaseFacts:
    """Read one scan and its label, and note all that is wrong with them by themselves."""
    case, notes = question.case, Notes(question.case.name)
    image = _image(case, question.channels, notes)
    label = _label(case, notes) if case.label else None
    if image and label and case.label:
        label = _on_scan(case, image, label, notes)
    return CaseFacts(
        case=case,
        image=_image_facts(image) if image else None,
        label=_label_facts(case, label, question.declared, notes) if label else None,
        findings=tuple(notes.findings),
        foreground=_foreground(image, label) if image and label else None,
    )


def _image(case: SourceCase, channels: int, notes: Notes) -> Volume | None:
    """All channels ``[C, X, Y, Z]``, NaN replaced by the minimum, or None if any is unreadable."""
    if len(case.images) not in (1, channels):
        return None  # two files of one name, which the layout has said
    volumes: list[Volume] = []
    each = channels if len(case.images) == 1 else 1
    for path in case.images:
        with notes.errors("unreadable", path):
            volumes.append(_checked_image(path, read_voxels(path, "image", channels=each), notes))
    if len(volumes) < len(case.images):
        return None
    for path, volume in zip(case.images[1:], volumes[1:], strict=True):
        if difference := grid_difference(volumes[0], volume, OTHER_FILE):
            message = f"{path}: its grid is not that of {case.images[0]}. {difference}"
            notes.add("error", "geometry", path, message)
            return None
    return Volume(array=np.concatenate([v.array for v in volumes]), affine=volumes[0].affine)


def _checked_image(path: Path, volume: Volume, notes: Notes) -> Volume:
    for note in volume.notes:
        notes.add("warning", "corrected", path, note)
    for severity, kind, message in (
        *axes_remarks(path, volume.affine),
        *read_header(path).remarks,
    ):
        notes.add(severity, kind, path, message)
    finite = np.isfinite(volume.array)
    if finite.all():
        if volume.array.min() == volume.array.max():
            message = f"{path}: all voxels are {volume.array.flat[0]:g}."
            notes.add("error", "unreadable", path, message)
        return volume
    nans, bad = int(np.isnan(volume.array).sum()), int((~finite).sum())
    mendable = nans == bad < volume.array.size and format_of(path).mendable
    first = tuple(int(i) for i in np.argwhere(~finite)[0][-3:])
    message = f"{path}: {nans} voxels are NaN and {bad - nans} infinite, the first at {first}."
    notes.add("error", "not finite", path, message, fixable=mendable)
    return Volume(array=np.where(finite, volume.array, 0), affine=volume.affine)


def _label(case: SourceCase, notes: Notes) -> Volume | None:
    """The label map as integers, or None if it is none."""
    path = case.label or Path()
    with notes.errors("unreadable", path):
        if case.masks:
            return read_case_label(case)
        volume = read_voxels(path, "label")
        for severity, kind, message in axes_remarks(path, volume.affine):
            notes.add(severity, kind, path, message)
        whole = _whole(path, volume.array[0], notes)
        if whole is None:
            return None
        label = replace(volume, array=whole)
        return revalued(path, label, case.values) if case.values else label
    return None


def _whole(path: Path, array: np.ndarray, notes: Notes) -> np.ndarray | None:
    """The values as integers; values that are none make an error, floats a warning."""
    if array.dtype.kind in "iu":
        return array.astype(np.int32)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        message = f"{path}: {bad} voxels of the label are NaN or infinite. Draw them again."
        notes.add("error", "not finite", path, message)
        return None
    whole = np.rint(array)
    off = np.abs(array - whole)
    mendable = format_of(path).mendable
    if off.max() > NEARLY_WHOLE:
        value = array.flat[int(off.argmax())]
        message = (
            f"{path}: a label map must hold whole numbers, but {int((off > NEARLY_WHOLE).sum())} "
            f"voxels are not, such as {value:g}. Export the labels without interpolation."
        )
        notes.add("error", "label values", path, message)
        return None
    if off.any():
        message = f"{path}: values are up to {off.max():.2g} off whole numbers."
        notes.add("error", "label values", path, message, fixable=mendable)
    elif mendable and read_header(path, "label").floats:
        message = f"{path}: whole numbers stored as floats or with a scale factor."
        notes.add("warning", "label values", path, message, fixable=True)
    return whole.astype(np.int32)


def _on_scan(case: SourceCase, image: Volume, label: Volume, notes: Notes) -> Volume:
    """The label as `prepare` takes it; itself where that is refused."""
    path = case.label or Path()
    apart = voxels_apart(image, label)
    if apart > GEOMETRY_TOLERANCE:
        with notes.errors("geometry", path):
            before, label = label.notes, label_on_scan(case, image, label)
            for note in label.notes[len(before) :]:
                notes.add("warning", "geometry", path, note)
    elif apart > ROUNDING:
        message = (
            f"{path}: the label's header lies {apart:.2g} of a voxel off its scan "
            f"{case.images[0]}; prepare takes both for one grid."
        )
        mendable = same_grid(image, label) and not case.masks and format_of(path).mendable
        notes.add("warning", "geometry", path, message, fixable=mendable)
    return label


def _image_facts(image: Volume) -> ImageFacts:
    image = canonical(image)
    box = crop_box(image, Preprocessing(crop="nonzero"))
    spatial = image.array.shape[1:]
    # A few hundred thousand voxels place a percentile as well as all of them do.
    step = max(1, round((np.prod(spatial) / 3e5) ** (1 / 3)))
    sample = image.array[:, ::step, ::step, ::step].reshape(len(image.array), -1)
    percentiles = np.percentile(sample, PERCENTILES, axis=1).T
    return ImageFacts(
        shape=(int(spatial[0]), int(spatial[1]), int(spatial[2])),
        content=grid_of_box(box, image.affine)[0],
        spacing=spacing_of(image.affine),
        percentiles=tuple((float(a), float(b), float(c)) for a, b, c in percentiles),
        digest=digest(image.array),
    )


def _foreground(image: Volume, label: Volume) -> np.ndarray | None:
    if image.array.shape[1:] != label.array.shape:
        return None
    places = np.flatnonzero(label.array)
    values = image.array.reshape(len(image.array), -1)
    return values[:, places[:: max(1, len(places) // FOREGROUND)]].astype(np.float32)


def _label_facts(
    case: SourceCase, label: Volume, declared: tuple[int, ...] | None, notes: Notes
) -> LabelFacts:
    array = canonical(label).array
    voxel = float(np.prod(spacing_of(label.affine)))
    values, index = _values(array)
    # [X, values]: voxels of each value in each sagittal plane.
    planes = np.stack([np.bincount(p.ravel(), minlength=len(values)) for p in index])
    counts = dict(zip(values.tolist(), planes.sum(axis=0).tolist(), strict=True))
    _check_values(case.label or Path(), counts, declared, notes)
    middle = (np.arange(len(array)) + 0.5) / len(array) - 0.5
    sides = middle @ planes / planes.sum(axis=0)
    pairs = zip(values.tolist(), sides.tolist(), strict=True)
    return LabelFacts(
        counts=counts,
        digest=digest(array),
        sides={value: side for value, side in pairs if value != 0},
        ends=ends(array),
        smallest={value: n * voxel for value, n in smallest(label).items()},
        places=places_of(array, [value for value in counts if value != 0]),
    )


def _values(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, sorted, and each voxel's place among them."""
    low, high = int(array.min()), int(array.max())
    if high - low > 2**16:
        values, index = np.unique(array, return_inverse=True)
        return values, index.reshape(array.shape)
    # Counting takes a tenth of the time of sorting.
    present = np.bincount((array - low).ravel()) > 0
    return np.flatnonzero(present) + low, (np.cumsum(present) - 1)[array - low]


def _check_values(
    path: Path, counts: dict[int, int], declared: tuple[int, ...] | None, notes: Notes
) -> None:
    strange = {v: n for v, n in counts.items() if v < 0 or (declared and v not in declared)}
    if strange:
        shown = ", ".join(f"{v} ({n} voxels)" for v, n in list(strange.items())[:5])
        known = f"Declared are {', '.join(map(str, declared))}" if declared else "None may be < 0"
        message = f"{path}: holds label values that are not declared: {shown}. {known}."
        notes.add("error", "label values", path, message)
    if set(counts) == {0}:
        message = f"{path}: holds background only. If the scan is not labelled, take it away."
        notes.add("warning", "empty label", path, message)
