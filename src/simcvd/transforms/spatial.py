"""Random crop, deformation, quarter turn and reflection of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from simcvd.transforms.affine import Warp, apply_warp, draw_warp, source_size
from simcvd.transforms.augment import AugmentConfig
from simcvd.types import IntTriple, Triple

Augmentation = Literal["published", "fixed", "none"]

PLAIN = AugmentConfig()


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """One patch's place in its scan and its pose: crop, then warp, then turn, then flip.

    start: first voxel of the crop; negative where it reaches beyond the scan.
    turns: quarter turns in the X, Y plane.
    flips: array axes that are reversed after the turn, among 0 (X), 1 (Y) and 2 (Z).
    warp: rotation, scaling and deformation about the middle of the crop, or None.
    """

    start: IntTriple
    turns: int
    flips: tuple[int, ...]
    warp: Warp | None = None


def draw_geometry(
    rng: np.random.Generator,
    shape: IntTriple,
    patch: IntTriple,
    augmentation: Augmentation,
    augment: AugmentConfig = PLAIN,
    *,
    spacing: Triple = (1.0, 1.0, 1.0),
    centre: IntTriple | None = None,
) -> Geometry:
    """Draw a crop of ``patch`` voxels from a scan of ``shape`` voxels, and its pose.

    augment: how patches are deformed, and the axes along which they are mirrored besides what
    ``augmentation`` does. spacing: of the scan, in mm. centre: the voxel around which to crop, as
    far as the scan reaches; None draws uniformly over all places that fit.

    "fixed" draws uniformly from the 8 symmetries of the square; "published" turns and then
    always flips one axis, as the code shared in this field does: that reaches only the 4
    mirrored ones, so that the network never sees an un-mirrored scan. "none" only crops.

    Examples:
        The crop begins two voxels before its centre, as far as the scan reaches:

        >>> rng = np.random.default_rng(0)
        >>> draw_geometry(rng, (9, 9, 9), (4, 4, 4), "none", centre=(6, 4, 0)).start
        (4, 2, 0)
    """
    turns = 0 if augmentation == "none" else int(rng.integers(4))
    flips: tuple[int, ...] = ()
    if augmentation == "published":
        flips = (int(rng.integers(2)),)
    elif augmentation == "fixed" and rng.integers(2):
        flips = (0,)
    size = _turned(patch, turns)
    x, y, z = (
        _draw_start(rng, n, side, middle)
        for n, side, middle in zip(shape, size, centre or (None,) * 3, strict=True)
    )
    mirrored = {axis for axis in sorted(set(augment.mirror)) if rng.integers(2)}
    flips = tuple(sorted(mirrored.symmetric_difference(flips)))
    warp = draw_warp(rng, augment, size, spacing) if augment.spatial else None
    return Geometry(start=(x, y, z), turns=turns, flips=flips, warp=warp)


def apply_geometry(
    volume: Tensor, geometry: Geometry, patch: IntTriple, fill: float, *, nearest: bool = False
) -> Tensor:
    """``[..., X, Y, Z]`` of any size -> a view or copy ``[..., *patch]``.

    Voxels outside the scan are ``fill``. A warp interpolates linearly, in float32; label maps are
    read with ``nearest``.

    Examples:
        Two voxels from the second on, reversed; the scan ends after one:

        >>> place = Geometry(start=(1, 0, 0), turns=0, flips=(0,))
        >>> scan = torch.tensor([5.0, 7.0]).view(2, 1, 1)
        >>> apply_geometry(scan, place, (2, 1, 1), fill=-1.0).flatten()
        tensor([-1.,  7.])
    """
    size, warp = _turned(patch, geometry.turns), geometry.warp
    if warp is None:
        crop = _crop(volume, geometry.start, size, fill)
    else:
        source = source_size(warp, size)
        x, y, z = (
            first - (m - n) // 2 for first, m, n in zip(geometry.start, source, size, strict=True)
        )
        crop = apply_warp(_crop(volume, (x, y, z), source, fill), warp, size, nearest=nearest)
    turned = torch.rot90(crop, geometry.turns, dims=(-3, -2))
    return turned.flip([axis - 3 for axis in geometry.flips]) if geometry.flips else turned


def _turned(patch: IntTriple, turns: int) -> IntTriple:
    """The patch's size before its quarter turns."""
    x, y, z = patch
    return (y, x, z) if turns % 2 else (x, y, z)


def _draw_start(rng: np.random.Generator, length: int, size: int, centre: int | None) -> int:
    """Uniform over the places that fit, or around ``centre``; centred where the scan is smaller."""
    if length < size:
        return (length - size) // 2
    if centre is None:
        return int(rng.integers(length - size + 1))
    return min(max(centre - size // 2, 0), length - size)


def _crop(volume: Tensor, start: IntTriple, size: IntTriple, fill: float) -> Tensor:
    shape = volume.shape[-3:]
    low = [max(s, 0) for s in start]
    high = [min(s + n, limit) for s, n, limit in zip(start, size, shape, strict=True)]
    x, y, z = map(slice, low, high)
    inside = volume[..., x, y, z]
    if inside.shape[-3:] == tuple(size):
        return inside
    out = volume.new_full((*volume.shape[:-3], *size), fill)
    x, y, z = (slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    out[..., x, y, z] = inside
    return out
