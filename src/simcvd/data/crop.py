"""The part of a scan that is prepared: all of it, what is not background, or its label's box.

A crop is made on the scan's own grid, before normalisation and resampling: whole voxels are left
out and none is interpolated, so that a result is pasted back exactly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcvd.distance import bounding_box
from simcvd.formats import spacing_of
from simcvd.preprocessing import Preprocessing
from simcvd.types import IntTriple, Volume

Box = tuple[slice, slice, slice]


def crop_box(image: Volume, p: Preprocessing, foreground: Volume | None = None) -> Box:
    """Which voxels of a scan ``[C, X, Y, Z]`` are kept, along its axes as they are stored.

    foreground: ``[X, Y, Z]`` bool on the image's grid, which crop "label" needs; without it, as
    when a new scan is segmented, that crop keeps the whole scan, as it does an empty mask's.
    """
    inside = None
    if p.crop == "nonzero":
        inside = _not_background(image.array)
    elif p.crop == "label" and foreground is not None:
        inside = foreground.array
    if inside is None or not inside.any():
        return whole(image)
    return _box(inside, _margins(image.affine, p))


def whole(volume: Volume) -> Box:
    """The box of every voxel."""
    x, y, z = volume.size
    return slice(0, x), slice(0, y), slice(0, z)


def grid_of_box(box: Box, affine: np.ndarray) -> tuple[IntTriple, np.ndarray]:
    """Shape and affine of a box cut out of the grid with ``affine``."""
    x, y, z = (int(side.stop - side.start) for side in box)
    moved = affine.copy()
    moved[:, 3] = affine @ [*(side.start for side in box), 1]
    return (x, y, z), moved


def cropped(volume: Volume, box: Box) -> Volume:
    """The voxels in the box, with the affine that keeps their place in the world."""
    _, affine = grid_of_box(box, volume.affine)
    return replace(volume, array=np.ascontiguousarray(volume.array[(..., *box)]), affine=affine)


def stored_like(label: Volume, image: Volume) -> Volume:
    """A label map ``[X, Y, Z]`` of the image's grid, its axes in the order the image has them."""
    from nibabel import orientations

    own, wanted = (orientations.io_orientation(v.affine) for v in (label, image))
    turned = orientations.apply_orientation(label.array, orientations.ornt_transform(own, wanted))
    return replace(label, array=turned, affine=image.affine)


def _not_background(array: np.ndarray) -> np.ndarray:
    """``[X, Y, Z]`` bool: where any channel differs from its background.

    A channel's background is the commonest value on the six faces of the scan. Where every value
    there is another, as in noise, hardly a voxel equals it, and the box is the whole scan.
    """
    inside = np.zeros(array.shape[1:], bool)
    for channel in array:
        faces = [channel.take(end, axis).ravel() for axis in range(3) for end in (0, -1)]
        values, counts = np.unique(np.concatenate(faces), return_counts=True)
        inside |= channel != values[counts.argmax()]
    return inside


def _margins(affine: np.ndarray, p: Preprocessing) -> list[int | None]:
    """Voxels of the scan's own grid to leave on each side, by stored axis; None is all."""
    from nibabel import orientations

    margins: list[int | None] = []
    spacing = spacing_of(affine)
    for stored, axis in enumerate(orientations.io_orientation(affine)[:, 0].astype(int)):
        margin = p.margin[axis]
        ratio = p.spacing[axis] / spacing[stored] if p.spacing else 1.0
        margins.append(None if margin is None else int(np.ceil(round(margin * ratio, 6))))
    return margins


def _box(inside: np.ndarray, margins: list[int | None]) -> Box:
    sides = []
    for side, margin, length in zip(bounding_box(inside), margins, inside.shape, strict=True):
        reach = length if margin is None else margin
        sides.append(slice(max(side.start - reach, 0), min(side.stop + reach, length)))
    x, y, z = sides
    return x, y, z
