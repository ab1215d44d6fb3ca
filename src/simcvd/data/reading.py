"""A scan and its label as they lie in the user's files: from one file or several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform

from simcvd.data.preprocess import canonical_grid
from simcvd.formats import describe_affine, read_image, read_label, revalued, spacing_of
from simcvd.layouts.records import SourceCase
from simcvd.types import SimcvdError, Volume

# Image and label may differ by rounding of their headers, not by more of a voxel than this.
GEOMETRY_TOLERANCE = 0.1
OTHER_FILE = ("other file", "file")


def read_channels(paths: tuple[Path, ...], channels: int) -> Volume:
    """One scan ``[C, X, Y, Z]`` from one file, or from one file a channel."""
    if len(paths) == 1:
        return read_image(paths[0], channels=channels)
    volumes = [read_image(path) for path in paths]
    for path, volume in zip(paths[1:], volumes[1:], strict=True):
        if difference := grid_difference(volumes[0], volume, OTHER_FILE):
            raise SimcvdError(f"{path}: its grid is not that of {paths[0]}. {difference}")
    return Volume(
        array=np.concatenate([v.array for v in volumes]),
        affine=volumes[0].affine,
        notes=tuple(note for v in volumes for note in v.notes),
    )


def read_case_label(case: SourceCase) -> Volume:
    """The label map ``[X, Y, Z]`` of a labelled case, from one file or from one mask a class.

    Raises SimcvdError as `read_label`, and for masks that overlap or hold several values.
    """
    if not case.masks:
        if case.label is None:
            raise SimcvdError(f"scan '{case.name}' has no label.")
        whole = read_label(case.label)
        return revalued(case.label, whole, case.values) if case.values else whole
    masks = [(value, path, _mask(path)) for value, path in case.masks]
    first = masks[0][2]
    label = np.zeros(first.array.shape, np.int32)
    for value, path, mask in masks:
        if not same_grid(first, mask):
            difference = grid_difference(first, mask, OTHER_FILE)
            difference = difference or "Its axes are stored in another order."
            raise SimcvdError(f"{path}: its grid is not that of {masks[0][1]}. {difference}")
        inside = mask.array > 0
        if taken := sorted(set(np.unique(label[inside]).tolist()) - {0}):
            others = ", ".join(p.name for v, p, _ in masks if v in taken)
            raise SimcvdError(
                f"{path}: {np.count_nonzero(label[inside])} of its voxels also lie in {others}. "
                "A voxel has one class: correct the masks so that they do not overlap."
            )
        label[inside] = value
    return Volume(array=label, affine=first.affine)


def label_on_scan(case: SourceCase, image: Volume, label: Volume) -> Volume:
    """The label if its grid is the scan's; else read on that grid, where the case allows it.

    A note on the result says that it was, and how much of what is labelled the scan holds. Raises
    SimcvdError where the case does not allow it, or nothing that is labelled lies in the scan.
    """
    difference = grid_difference(image, label)
    if difference is None:
        return label
    if label.partial and (whole := placed(image, label)):
        return whole
    found = f"{case.label}: the label's grid is not that of its scan {case.images[0]}. {difference}"
    if not case.resample_label:
        raise SimcvdError(
            f"{found} Draw the label on the scan's own grid, or give --resample-labels if both "
            "headers are right."
        )
    read = replace(label, array=_read_on(image, label), affine=image.affine)
    had, has = _labelled_mm3(label), _labelled_mm3(read)
    if had and not has:
        raise SimcvdError(
            f"{found} Nothing that is labelled lies within the scan, so resampling finds "
            "background only. One of the two headers is wrong: correct it."
        )
    share = f", which holds {100 * has / had:.0f}% of the labelled volume" if had else ""
    note = f"{case.label}: resampled to the grid of its scan{share}"
    return replace(read, notes=(*label.notes, note))


def placed(image: Volume, label: Volume) -> Volume | None:
    """A label that covers a box of whole voxels of the scan, on the scan's grid; else None.

    Segmentation formats store only the part that holds something; the rest is background.
    """
    link = np.linalg.inv(image.affine) @ label.affine
    turn = np.rint(link[:3, :3])
    last = np.array(label.array.shape) - 1
    off = np.abs(link[:3, :3] - turn) @ last + np.abs(link[:3, 3] - np.rint(link[:3, 3]))
    if not np.array_equal(turn @ turn.T, np.eye(3)) or off.max() > GEOMETRY_TOLERANCE:
        return None
    first = np.rint(link[:3, 3])
    low = np.minimum(first, first + turn @ last).astype(int)
    axes = np.abs(turn).argmax(axis=1)
    part = np.flip(label.array.transpose(axes), tuple(np.flatnonzero(turn.sum(axis=1) < 0)))
    high = low + part.shape
    if low.min() < 0 or (high > image.size).any():
        return None
    array = np.zeros(image.size, label.array.dtype)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = part
    return replace(label, array=array, affine=image.affine, partial=False)


def _read_on(image: Volume, label: Volume) -> np.ndarray:
    """``[X, Y, Z]`` on the image's grid: each value's share linearly, then the largest.

    Outside its own grid a label is background.
    """
    link = np.linalg.inv(label.affine) @ image.affine
    best = np.full(image.size, -np.inf, np.float32)
    result = np.zeros(image.size, label.array.dtype)
    for value in {0, *np.unique(label.array).tolist()}:
        share = affine_transform(
            (label.array == value).astype(np.float32),
            link[:3, :3],
            link[:3, 3],
            output_shape=image.size,
            order=1,
            mode="grid-constant",
            cval=float(value == 0),
        )
        better = share > best
        best[better] = share[better]
        result[better] = value
    return result


def _labelled_mm3(label: Volume) -> float:
    return float(np.count_nonzero(label.array) * np.prod(spacing_of(label.affine)))


def _mask(path: Path) -> Volume:
    mask = read_label(path)
    values = np.unique(mask.array)
    if len(values) > 2 or values[0] < 0 or (len(values) == 2 and values[0] != 0):
        shown = ", ".join(map(str, values[:5]))
        raise SimcvdError(
            f"{path}: is one file of a class in a folder of such files, and so must be 0 outside "
            f"and one value inside, but holds {shown}. Store one mask a class, or one label map."
        )
    return mask


def same_grid(first: Volume, second: Volume) -> bool:
    """Whether two volumes store the same voxels of the world in the same order."""
    return first.size == second.size and _apart(first, second) <= GEOMETRY_TOLERANCE


def grid_difference(
    image: Volume, label: Volume, called: tuple[str, str] = ("scan", "label")
) -> str | None:
    """None if both grids cover the same voxels of the world, in whatever order they keep them.

    called: what the two are in the sentence that says how they differ.
    """
    if voxels_apart(image, label) <= GEOMETRY_TOLERANCE:
        return None
    described = [f"{v.size}, {describe_affine(v.affine)}" for v in (image, label)]
    return f"The {called[0]}: {described[0]}. The {called[1]}: {described[1]}."


def voxels_apart(image: Volume, label: Volume) -> float:
    """How far the corners of two grids lie apart, in voxels; infinite if their shapes differ.

    Axes stored in another order or direction make no difference.
    """
    a, b = _canonical(image), _canonical(label)
    return _apart(a, b) if a.size == b.size else np.inf


def _canonical(volume: Volume) -> Volume:
    """The grid along axes closest to RAS+; an array that takes no memory stands for its voxels."""
    shape, affine = canonical_grid(volume.size, volume.affine)
    return Volume(array=np.broadcast_to(0, shape), affine=affine)


def _apart(first: Volume, second: Volume) -> float:
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    corners[:, :3] *= np.array(first.size) - 1
    shift = np.abs((corners @ (first.affine - second.affine).T)[:, :3]).max()
    return float(shift / min(spacing_of(first.affine)))
