"""From finished blocks on the network's grid to probabilities on the scan's own, part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from simcvd.data.preprocess import canonical_grid
from simcvd.data.resample import axis_maps, resampled
from simcvd.inference.sliding_window import Slices
from simcvd.types import IntTriple, Volume

# Where a part lies in the source's grid, and its K probability maps, one at a time: arrays, or
# tensors that still lie on a GPU.
Part = tuple[Slices, Iterable[np.ndarray] | Iterable[Tensor]]


def parts_in_source(
    blocks: Iterable[tuple[Slices, Tensor]],
    axis: int,
    scan: Volume,
    shape: IntTriple,
    affine: np.ndarray,
) -> Iterator[Part]:
    """Class probabilities on the source's grid (``shape``, ``affine``) as they are finished.

    blocks: as `finished_blocks` yields them, in slabs across ``axis`` of ``scan``, the network's
    grid. The parts tile the source. The maps of a part are valid until the next part.
    """
    if _same_grid(scan, shape, affine):
        return _turned_parts(blocks, scan, affine)
    return _resampled_parts(blocks, axis, scan, shape, affine)


def _same_grid(scan: Volume, shape: IntTriple, affine: np.ndarray) -> bool:
    """Whether the network's grid has the source's voxels, turned to RAS+ but not resampled."""
    size, turned = canonical_grid(shape, affine)
    return size == scan.size and np.allclose(turned, scan.affine, rtol=0, atol=1e-6)


def _turned_parts(
    blocks: Iterable[tuple[Slices, Tensor]], scan: Volume, affine: np.ndarray
) -> Iterator[Part]:
    """Blocks on canonical axes as the source with ``affine`` has them: flips and swaps only."""
    from nibabel import orientations

    turn = orientations.io_orientation(affine).astype(int)
    axes, mirrored = turn[:, 0], np.flatnonzero(turn[:, 1] < 0)
    for place, block in blocks:
        sides = [place[axis] for axis in axes]
        for i in mirrored:
            end = scan.size[axes[i]]
            sides[i] = slice(end - sides[i].stop, end - sides[i].start)
        turned = block.permute(0, *(1 + axes).tolist())
        if block.device.type == "cpu":  # as views
            maps = (np.flip(p.numpy(), tuple(mirrored)) for p in turned)
        else:  # to be looked at where they are
            maps = (p.flip(mirrored.tolist()) for p in turned)
        yield (sides[0], sides[1], sides[2]), maps


def _resampled_parts(
    blocks: Iterable[tuple[Slices, Tensor]],
    axis: int,
    scan: Volume,
    shape: IntTriple,
    affine: np.ndarray,
) -> Iterator[Part]:
    """Each class interpolated linearly on the source's grid.

    A source voxel is settled as soon as both network planes around it are finished, so only
    one slab is held.
    """
    link = np.linalg.inv(scan.affine) @ affine
    source_axis = int(np.abs(link[axis, :3]).argmax())
    position = link[axis, source_axis] * np.arange(shape[source_axis]) + link[axis, 3]
    size = scan.size
    below = -np.inf
    for start, slab in _with_previous_plane(_slabs(blocks, axis, size), axis):
        stop = start + slab.shape[axis + 1]
        above = np.inf if stop == size[axis] else stop - 1
        rows = np.flatnonzero((position >= below) & (position < above))
        below = above
        if len(rows):
            sides = [slice(0, n) for n in shape]
            sides[source_axis] = slice(int(rows[0]), int(rows[-1]) + 1)
            x, y, z = sides
            slab_affine = _moved(scan.affine, axis, start)
            yield (x, y, z), _maps(slab, slab_affine, (x, y, z), affine)


def _maps(
    slab: np.ndarray, slab_affine: np.ndarray, place: Slices, affine: np.ndarray
) -> Iterator[np.ndarray]:
    """Each class of a slab on the part of the source's grid that lies at ``place``."""
    for axis, side in enumerate(place):
        affine = _moved(affine, axis, side.start)
    x, y, z = (side.stop - side.start for side in place)
    maps = axis_maps(affine, slab_affine)
    return (resampled(p, (x, y, z), maps) for p in slab)


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
