"""Separate objects of a label map, and those that are lost on a coarser grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from simcvd.data.preprocess import canonical
from simcvd.formats import spacing_of
from simcvd.types import Volume

# A class that keeps less of its volume than this on another grid has shrunk.
SHRUNK = 0.5


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One connected object (neighbours across corners count): its value, voxels and box."""

    value: int
    voxels: int
    box: tuple[slice, ...]


def objects(array: np.ndarray) -> Iterator[Thing]:
    """Every connected object of every value of a label map ``[X, Y, Z]``, 0 apart."""
    from scipy import ndimage

    if array.min() < 0 or array.max() > 2**16:
        return  # no label map, as is said elsewhere; find_objects takes memory by the value
    for value, box in enumerate(ndimage.find_objects(array), start=1):
        if box is None:
            continue
        parts, count = ndimage.label(array[box] == value, np.ones((3, 3, 3), int))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        for number, inner in enumerate(ndimage.find_objects(parts), start=1):
            yield Thing(value=value, voxels=int(sizes[number]), box=_within(box, inner))


def pieces(array: np.ndarray, values: int) -> list[int]:
    """How many connected objects each of the values 1, 2, ... has in a map ``[X, Y, Z]``."""
    found = [one.value for one in objects(array)]
    return [found.count(value) for value in range(1, values + 1)]


def keep_largest(array: np.ndarray, values: Iterable[int]) -> None:
    """Set every object of these values to 0 but the largest of each, in place."""
    from scipy import ndimage

    boxes = ndimage.find_objects(array)
    for value in values:
        box = boxes[value - 1] if value <= len(boxes) else None
        if box is None:
            continue
        parts, count = ndimage.label(array[box] == value, np.ones((3, 3, 3), int))
        if count > 1:
            largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
            array[box][(parts > 0) & (parts != largest)] = 0


def _within(box: tuple[slice, ...], inner: tuple[slice, ...]) -> tuple[slice, ...]:
    """A box of a box, counted from the origin of the first."""
    pairs = zip(box, inner, strict=True)
    return tuple(slice(a.start + b.start, a.start + b.stop) for a, b in pairs)


def smallest(label: Volume) -> dict[int, int]:
    """Voxels of the smallest object of every value of a label map, 0 apart."""
    found: dict[int, int] = {}
    for one in objects(label.array):
        found[one.value] = min(one.voxels, found.get(one.value, one.voxels))
    return found


def lost(label: Volume, resampled: Volume, names: Mapping[int, str]) -> list[str]:
    """What a label map loses on another grid with the same axes, one sentence a class.

    resampled: as `label_to_network` gives it. An object is lost if no voxel of its class is left
    where it lay. names: of the values.
    """
    label = canonical(label)
    if label.array.shape == resampled.array.shape:
        return []
    gone: dict[int, list[int]] = {}
    counts: dict[int, int] = {}
    for one in objects(label.array):
        counts[one.value] = counts.get(one.value, 0) + 1
        if not (resampled.array[_where(one.box, label, resampled)] == one.value).any():
            gone.setdefault(one.value, []).append(one.voxels)
    voxel = float(np.prod(spacing_of(label.affine)))
    kept = {value: _kept(value, label, resampled) for value in counts}
    return [
        *(
            f"class '{names.get(value, value)}' loses {len(sizes)} of {counts[value]} objects, the "
            f"largest of {max(sizes)} voxels ({max(sizes) * voxel:.3g} mm3)"
            for value, sizes in gone.items()
        ),
        *(
            f"class '{names.get(value, value)}' keeps {share:.0%} of its volume"
            for value, share in kept.items()
            if 0 < share < SHRUNK
        ),
    ]


def _where(box: tuple[slice, ...], label: Volume, resampled: Volume) -> tuple[slice, ...]:
    """The voxels of the other grid that touch a box of the first."""
    link = np.linalg.inv(resampled.affine) @ label.affine
    scale, shift = np.diag(link)[:3], link[:3, 3]
    low = scale * (np.array([side.start for side in box]) - 0.5) + shift
    high = scale * (np.array([side.stop for side in box]) - 0.5) + shift
    first = np.maximum(np.ceil(low - 0.5 + 1e-6), 0).astype(int)
    last = np.floor(high + 0.5 - 1e-6).astype(int)
    return tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))


def _kept(value: int, label: Volume, resampled: Volume) -> float:
    """Volume of a class on the other grid as a share of that on the first."""
    volumes = [
        np.count_nonzero(v.array == value) * np.prod(spacing_of(v.affine))
        for v in (resampled, label)
    ]
    return float(volumes[0] / volumes[1])
