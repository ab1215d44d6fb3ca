"""From finished blocks on the network's grid to labels on the scan's own, slab by slab."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from simcvd.data.preprocess import to_source
from simcvd.inference.sliding_window import Slices
from simcvd.types import IntTriple, Volume


def same_grid(scan: Volume, shape: IntTriple, affine: np.ndarray) -> bool:
    """Whether the network's grid has the source's voxels, turned to RAS+ but not resampled."""
    from nibabel import orientations

    turn = orientations.io_orientation(affine)
    turned = affine @ orientations.inv_ornt_aff(turn, shape)
    sizes = tuple(shape[i] for i in np.argsort(turn[:, 0]))
    return sizes == scan.array.shape[-3:] and np.allclose(turned, scan.affine, rtol=0, atol=1e-6)


def turn_back(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Labels ``[X, Y, Z]`` on canonical axes as the source with ``affine`` has them."""
    from nibabel import orientations

    ras = np.array([[0, 1], [1, 1], [2, 1]])
    back = orientations.ornt_transform(ras, orientations.io_orientation(affine))
    return np.ascontiguousarray(orientations.apply_orientation(labels, back))


def labels_in_source(
    blocks: Iterable[tuple[Slices, Tensor]],
    axis: int,
    scan: Volume,
    shape: IntTriple,
    affine: np.ndarray,
) -> np.ndarray:
    """Labels ``[X, Y, Z]`` on the source's grid from probability blocks on the network's.

    blocks: as `finished_blocks` yields them, in slabs across ``axis`` of ``scan``. Each class
    is interpolated linearly before the most probable one is taken. A source voxel is settled
    as soon as both network planes around it are finished, so only one slab is held.
    """
    out = np.zeros(shape, np.uint8)
    link = np.linalg.inv(scan.affine) @ affine
    source_axis = int(np.abs(link[axis, :3]).argmax())
    position = link[axis, source_axis] * np.arange(shape[source_axis]) + link[axis, 3]
    size = (scan.array.shape[-3], scan.array.shape[-2], scan.array.shape[-1])
    below = -np.inf
    for start, slab in _with_previous_plane(_slabs(blocks, axis, size), axis):
        stop = start + slab.shape[axis + 1]
        above = np.inf if stop == size[axis] else stop - 1
        rows = np.flatnonzero((position >= below) & (position < above))
        below = above
        if len(rows):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            _fill(out, slab, _moved(scan.affine, axis, start), affine, source_axis, part)
    return out


def _fill(
    out: np.ndarray,
    slab: np.ndarray,
    slab_affine: np.ndarray,
    affine: np.ndarray,
    axis: int,
    part: slice,
) -> None:
    """Settle the source's planes ``part`` across ``axis`` from one slab of probabilities."""
    place = [slice(None)] * 3
    place[axis] = part
    view = out[tuple(place)]
    x, y, z = view.shape
    view[...] = to_source(slab, slab_affine, (x, y, z), _moved(affine, axis, part.start))


def _moved(affine: np.ndarray, axis: int, start: int) -> np.ndarray:
    """The affine of the array that begins at index ``start`` of ``axis``."""
    moved = affine.copy()
    moved[:3, 3] += start * affine[:3, axis]
    return moved


def _slabs(
    blocks: Iterable[tuple[Slices, Tensor]], axis: int, size: IntTriple
) -> Iterator[tuple[int, np.ndarray]]:
    """Whole slabs ``[K, ...]`` put together from the blocks of one range along ``axis``."""
    slab: Tensor | None = None
    filled = 0
    for place, block in blocks:
        if slab is None:
            whole = list(size)
            whole[axis] = block.shape[axis + 1]
            slab = torch.empty(len(block), *whole)
        inside = list(place)
        inside[axis] = slice(None)
        slab[(slice(None), *inside)] = block
        filled += block[0].numel()
        if filled == slab[0].numel():
            yield place[axis].start, slab.numpy()
            slab, filled = None, 0


def _with_previous_plane(
    slabs: Iterable[tuple[int, np.ndarray]], axis: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Each slab with the last plane of the one before, so that no interval is left between."""
    last: np.ndarray | None = None
    for start, slab in slabs:
        joined = slab if last is None else np.concatenate([last, slab], axis + 1)
        yield start - (last is not None), joined
        last = np.take(slab, [-1], axis + 1)
