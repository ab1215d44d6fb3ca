"""Rotation, scaling and elastic deformation of a patch, in millimetres, in one resampling.

A `Warp` says where in the scan each voxel of the patch is read. Image, label and distance map
are read at the same places: indices and weights are worked out once and used for all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from simcvd.transforms.augment import AugmentConfig, fine_axes
from simcvd.types import IntTriple, Triple

Matrix = tuple[Triple, Triple, Triple]

IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
INTERVALS = 4  # between the knots of the spline, along each side of the patch
CONTROLS = INTERVALS + 3
# A cubic spline whose displacements stay below 0.48 of the knots' distance cannot fold over
# (Choi and Lee, Graphical Models 62, 2000).
LARGEST = 0.4


@dataclass(frozen=True, kw_only=True)
class Warp:
    """Where a patch is read in its scan, relative to the patch's centre.

    matrix: from a voxel's place in the patch to its place in the scan, both in voxels from the
        centre.
    elastic: displacements of that place, in voxels, at the control points of a cubic spline:
        3 * CONTROLS**3 numbers, axis first; empty without a deformation.
    """

    matrix: Matrix = IDENTITY
    elastic: tuple[float, ...] = ()


def draw_warp(
    rng: np.random.Generator, config: AugmentConfig, patch: IntTriple, spacing: Triple
) -> Warp | None:
    """Draw a patch's rotation, scale and deformation; None where the chances left it alone.

    spacing: mm along the axes. Only `fine_axes` are scaled and bent, and a rotation turns only
    what lies in a plane of two of them.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> patch, spacing = (32, 32, 32), (1.0, 1.0, 1.0)
        >>> draw_warp(rng, AugmentConfig(affine_chance=0.0), patch, spacing) is None
        True
        >>> draw_warp(rng, AugmentConfig(affine_chance=1.0), patch, spacing) is None
        False
    """
    axes = fine_axes(patch, spacing)
    matrix: Matrix = IDENTITY
    elastic: tuple[float, ...] = ()
    if rng.random() < config.affine_chance:
        matrix = _draw_matrix(rng, config, axes, spacing)
    if rng.random() < config.elastic_chance:
        elastic = _draw_elastic(rng, config.elastic, axes, patch, spacing)
    return Warp(matrix=matrix, elastic=elastic) if elastic or matrix != IDENTITY else None


def source_size(warp: Warp, patch: IntTriple) -> IntTriple:
    """Size of the crop, around the patch's centre, that holds every place the warp reads.

    Examples:
        A patch whose content is shrunk to half along X shows 4 voxels on each side of its middle:

        >>> half = matrix_of((0, 0, 0), (0.5, 1, 1), (1, 1, 1))
        >>> source_size(Warp(matrix=half), (5, 5, 5))
        (9, 5, 5)
    """
    half = (np.array(patch) - 1) / 2
    reach = np.abs(warp.matrix) @ half
    if warp.elastic:
        reach += np.abs(np.reshape(warp.elastic, (3, -1))).max(1)
    margin = np.ceil(reach - half - 1e-6).clip(min=0)
    x, y, z = (n + 2 * int(m) for n, m in zip(patch, margin, strict=True))
    return x, y, z


def apply_warp(source: Tensor, warp: Warp, patch: IntTriple, *, nearest: bool = False) -> Tensor:
    """``[..., *source_size(warp, patch)]`` -> ``[..., *patch]``.

    Linear interpolation, in float32; with ``nearest`` the nearest voxel, in the source's type.

    Examples:
        Enlarged twofold about its middle, the voxel of 1, a row is read at half steps:

        >>> double = Warp(matrix=matrix_of((0, 0, 0), (2, 1, 1), (1, 1, 1)))
        >>> row = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1)
        >>> apply_warp(row, double, (3, 1, 1)).flatten()
        tensor([0.5000, 1.0000, 1.5000])
    """
    x, y, z = source.shape[-3:]
    places = _places(warp, (x, y, z), patch, source.device)
    rows = source.reshape(-1, x * y * z)
    if nearest:
        read = [row.index_select(0, places.nearest()) for row in rows]
    else:
        read = [_linear(row, places.corner, places.moved) for row in rows.float()]
    out = read[0] if len(read) == 1 else torch.stack(read)
    return out.view(*source.shape[:-3], *patch)


def matrix_of(degrees: Triple, scale: Triple, spacing: Triple) -> Matrix:
    """What turns a patch about X, Y and Z, one after the other, and enlarges it by ``scale``.

    Right-handed: by 90 degrees about Z, what lay on X comes to lie on Y. Turned and enlarged in
    millimetres, ``spacing`` of them a voxel. The result, as `Warp` has it, is the inverse: where
    the content comes from.
    """
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one = np.eye(3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turn = one @ turn
    mm = np.array(spacing)
    x, y, z = (turn.T / np.array(scale)[:, None] * mm / mm[:, None]).tolist()
    return tuple(x), tuple(y), tuple(z)


class _Moved(NamedTuple):
    """An axis along which places lie between voxels: its stride, and how far on, ``[P]``."""

    stride: int
    fraction: Tensor


class _Places(NamedTuple):
    """Of each of a patch's P voxels: the lowest corner of the cell it is read in, ``[P]``."""

    corner: Tensor
    moved: tuple[_Moved, ...]

    def nearest(self) -> Tensor:
        """The index of the voxel nearest to each place."""
        index = self.corner
        for stride, fraction in self.moved:
            index = index + (fraction >= 0.5).int() * stride
        return index


def _linear(row: Tensor, index: Tensor, moved: tuple[_Moved, ...]) -> Tensor:
    """Interpolate along the first axis moved what is interpolated along the others."""
    if not moved:
        return row.index_select(0, index)
    (stride, fraction), *others = moved
    low = _linear(row, index, tuple(others))
    return low.lerp_(_linear(row[stride:], index, tuple(others)), fraction)


@lru_cache(maxsize=1)  # image, label and distance map of a patch follow one another
def _places(warp: Warp, source: IntTriple, patch: IntTriple, device: torch.device) -> _Places:
    offsets = [
        (torch.arange(n, device=device) - (n - 1) / 2).view(-1, *[1] * (2 - axis))
        for axis, n in enumerate(patch)
    ]
    bend = _displacements(warp, patch, device) if warp.elastic else None
    index, moved = torch.zeros((), dtype=torch.int32, device=device), []
    for axis, (row, size) in enumerate(zip(warp.matrix, source, strict=True)):
        where = torch.full((), (size - 1) / 2, device=device)
        for factor, offset in zip(row, offsets, strict=True):
            where = where + factor * offset if factor else where
        where = (where if bend is None else where + bend[axis]).clamp_(0, size - 1)
        stride = prod(source[axis + 1 :])
        if bend is None and row == IDENTITY[axis]:
            low = where.round()
        else:
            low = where.floor().clamp_(max=max(size - 2, 0))
            fraction = where.sub_(low).expand(patch).flatten()
            moved.append(_Moved(stride if size > 1 else 0, fraction))
        index = index + low.int().mul_(stride)
    return _Places(index.expand(patch).flatten(), tuple(moved))


def _displacements(warp: Warp, patch: IntTriple, device: torch.device) -> Tensor:
    """The spline at every voxel, ``[3, *patch]``, in voxels."""
    points = torch.tensor(warp.elastic).view(3, CONTROLS, CONTROLS, CONTROLS)
    points = points.to(device, non_blocking=True)
    for n in patch:  # each time, the first axis of control points becomes the last, of voxels
        points = torch.einsum("aijk,ni->ajkn", points, _spline(n, device))
    return points


def _spline(length: int, device: torch.device) -> Tensor:
    """Weights ``[length, CONTROLS]`` of a uniform cubic B-spline's control points."""
    place = torch.arange(length, device=device) * (INTERVALS / max(length - 1, 1))
    far = (place[:, None] + 1 - torch.arange(CONTROLS, device=device)).abs()
    return torch.where(far < 1, 2 / 3 - far**2 + far**3 / 2, (2 - far).clamp_min(0) ** 3 / 6)


def _draw_matrix(
    rng: np.random.Generator, config: AugmentConfig, axes: tuple[int, ...], spacing: Triple
) -> Matrix:
    about = [axis for axis in range(3) if len(set(axes) - {axis}) == 2]
    limits = [0.0 if axis not in about else config.tilt for axis in range(3)]
    if about:
        limits[about[-1]] = config.rotation
    turn_x, turn_y, turn_z = (rng.uniform(-limit, limit) for limit in limits)
    drawn = 1 + rng.uniform(-config.scale, config.scale)
    x, y, z = (drawn if axis in axes else 1.0 for axis in range(3))
    return matrix_of((turn_x, turn_y, turn_z), (x, y, z), spacing)


def _draw_elastic(
    rng: np.random.Generator,
    deviation: float,
    axes: tuple[int, ...],
    patch: IntTriple,
    spacing: Triple,
) -> tuple[float, ...]:
    points = np.zeros((3, CONTROLS**3))
    for axis in axes:
        largest = LARGEST * (patch[axis] - 1) / INTERVALS
        drawn = rng.normal(0, deviation / spacing[axis], CONTROLS**3)
        points[axis] = drawn.clip(-largest, largest)
    return tuple(points.ravel().tolist())
