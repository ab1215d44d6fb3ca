"""Random crop, rotation and reflection of patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from simcvd.types import IntTriple

Augmentation = Literal["published", "fixed", "none"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """One patch's place in its scan and its pose: crop, then turn, then flip.

    start: first voxel of the crop; negative where the scan is smaller than the patch.
    turns: quarter turns in the X, Y plane.
    flips: array axes that are reversed after the turn, among 0 (X) and 1 (Y).
    """

    start: IntTriple
    turns: int
    flips: tuple[int, ...]


def draw_geometry(
    rng: np.random.Generator, shape: IntTriple, patch: IntTriple, augmentation: Augmentation
) -> Geometry:
    """Draw a crop of ``patch`` voxels from a scan of ``shape`` voxels, and its pose.

    "fixed" draws uniformly from the 8 symmetries of the square; "published" turns and then
    always flips one axis, as the code shared in this field does: that reaches only the 4
    mirrored ones, so that the network never sees an un-mirrored scan. "none" only crops.
    """
    turns = 0 if augmentation == "none" else int(rng.integers(4))
    flips: tuple[int, ...] = ()
    if augmentation == "published":
        flips = (int(rng.integers(2)),)
    elif augmentation == "fixed" and rng.integers(2):
        flips = (0,)
    x, y, z = (
        _draw_start(rng, n, size) for n, size in zip(shape, _source_size(patch, turns), strict=True)
    )
    return Geometry(start=(x, y, z), turns=turns, flips=flips)


def apply_geometry(volume: Tensor, geometry: Geometry, patch: IntTriple, fill: float) -> Tensor:
    """``[..., X, Y, Z]`` of any size -> a view or copy ``[..., *patch]``.

    Voxels outside the scan are ``fill``.
    """
    crop = _crop(volume, geometry.start, _source_size(patch, geometry.turns), fill)
    turned = torch.rot90(crop, geometry.turns, dims=(-3, -2))
    return turned.flip([axis - 3 for axis in geometry.flips]) if geometry.flips else turned


def _source_size(patch: IntTriple, turns: int) -> IntTriple:
    """Size of the crop that has the patch's size once turned."""
    x, y, z = patch
    return (y, x, z) if turns % 2 else (x, y, z)


def _draw_start(rng: np.random.Generator, length: int, size: int) -> int:
    """Uniform over the places that fit; centred where the scan is the smaller."""
    return int(rng.integers(length - size + 1)) if length >= size else (length - size) // 2


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
