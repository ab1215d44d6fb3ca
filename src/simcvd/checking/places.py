"""Where the classes of a label map lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from simcvd.types import Triple


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a class lies in one scan: mean and variance of its voxels' indices, X, Y and Z."""

    centre: Triple
    variance: Triple


def places_of(label: np.ndarray, values: Iterable[int]) -> dict[int, Place]:
    """The place of each of ``values`` that occurs in ``[X, Y, Z]`` integers in RAS+ axes."""
    return {value: _place(mask) for value in values if (mask := label == value).any()}


def _place(mask: np.ndarray) -> Place:
    centre, variance = [], []
    for axis in range(3):
        voxels = mask.sum(axis=tuple({0, 1, 2} - {axis}))  # in each plane across the axis
        index = np.arange(len(voxels))
        mean = float(np.average(index, weights=voxels))
        centre.append(mean)
        variance.append(float(np.average((index - mean) ** 2, weights=voxels)))
    (x, y, z), (vx, vy, vz) = centre, variance
    return Place(centre=(x, y, z), variance=(vx, vy, vz))
