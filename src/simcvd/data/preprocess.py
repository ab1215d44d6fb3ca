"""From a scan's own grid to the network's and back; shared by prepare and predict.

A scan is brought to the axes closest to RAS+ (flips and swaps only), normalised,
and resampled along its own axes, so that source and network grid always differ by
a signed permutation, a scale and a shift, and every resampling is separable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from simcvd.data.resample import axis_maps, resampled
from simcvd.formats import spacing_of
from simcvd.preprocessing import Preprocessing
from simcvd.types import IntTriple, Triple, Volume

# A scan whose spacing is this close (relative) to the wanted one is not resampled.
SPACING_TOLERANCE = 1e-3


def to_network(volume: Volume, p: Preprocessing) -> Volume:
    """A scan ``[C, X, Y, Z]`` on the network's grid, float32, with that grid's affine.

    Going coarser is anti-aliased (Cardoso et al., MICCAI 2015: the point spread of the
    coarser scanner). Statistics are those of the scan at its own resolution. Takes little
    memory beyond the result's; where it resamples, beyond that of about two channels.
    """
    volume = _turned(volume)
    x, y, z = volume.array.shape[1:]
    shape, affine = _network_grid((x, y, z), volume.affine, p.spacing)
    maps = axis_maps(affine, volume.affine)
    result = np.empty((len(volume.array), *shape), np.float32)
    for channel, out in zip(volume.array, result, strict=True):
        if np.array_equal(affine, volume.affine):
            _normalise(channel, p, out)
        else:  # nothing here holds the normalised channel: it goes after the first axis
            resampled(_normalised(channel, p), shape, maps, blur=True, out=out)
    return Volume(array=result, affine=affine)


def label_to_network(label: Volume, p: Preprocessing) -> Volume:
    """A label map ``[X, Y, Z]`` on the same grid: each value linearly, then the largest."""
    label = canonical(label)
    shape, affine = _network_grid(label.array.shape, label.affine, p.spacing)
    if shape == label.array.shape:
        return Volume(array=label.array, affine=affine)
    maps = axis_maps(affine, label.affine)
    values = np.unique(label.array)
    shares = (resampled((label.array == v).astype(np.float32), shape, maps) for v in values)
    return Volume(array=values[_argmax(shares, shape)], affine=affine)


def canonical(volume: Volume) -> Volume:
    """The same voxels with axes flipped and swapped to be closest to RAS+, C-contiguous.

    The array is copied only if the axes must change.
    """
    turned = _turned(volume)
    return replace(turned, array=np.ascontiguousarray(turned.array))


def _turned(volume: Volume) -> Volume:
    """`canonical` as a view of the same memory, in whatever order that lies."""
    from nibabel import orientations

    spatial, channels = volume.array.shape[-3:], volume.array.ndim - 3
    turn = orientations.io_orientation(volume.affine)
    order = np.argsort(turn[:, 0]).astype(int)
    array = volume.array.transpose((*range(channels), *(order + channels)))
    mirrored = channels + np.flatnonzero(turn[order, 1] < 0)
    _, affine = canonical_grid(spatial, volume.affine)
    return Volume(array=np.flip(array, tuple(mirrored)), affine=affine)


def canonical_grid(shape: IntTriple, affine: np.ndarray) -> tuple[IntTriple, np.ndarray]:
    """Shape and affine that `canonical` gives a grid."""
    from nibabel import orientations

    turn = orientations.io_orientation(affine)
    x, y, z = (shape[int(axis)] for axis in np.argsort(turn[:, 0]))
    return (x, y, z), affine @ orientations.inv_ornt_aff(turn, shape)


def _normalised(channel: np.ndarray, p: Preprocessing) -> np.ndarray:
    return _normalise(channel, p, np.empty(channel.shape, np.float32))


def _normalise(channel: np.ndarray, p: Preprocessing, out: np.ndarray) -> np.ndarray:
    """Fill `out` with a normalised channel ``[X, Y, Z]``, plane by plane; returns it."""
    mean, std = (0.0, 1.0) if p.normalization == "none" else _mean_and_std(channel, p)
    for plane, filled in zip(_planes(channel, p), out, strict=True):
        filled[...] = (plane - mean) / std
    return out


def _mean_and_std(channel: np.ndarray, p: Preprocessing) -> tuple[float, float]:
    mean = sum(float(plane.sum()) for plane in _planes(channel, p)) / channel.size
    squares = sum(float(((plane - mean) ** 2).sum()) for plane in _planes(channel, p))
    std = float(np.sqrt(squares / channel.size))
    # A constant scan has nothing to scale; it becomes zero everywhere.
    return mean, std if std > 0 else 1.0


def _planes(channel: np.ndarray, p: Preprocessing) -> Iterator[np.ndarray]:
    """The planes ``[Y, Z]`` of a channel within the window, in float64.

    C-contiguous, so that sums are taken in the same order whatever the file's orientation: a
    re-oriented scan then gives the same bits.
    """
    for plane in channel:
        values = plane.astype(np.float64, order="C")
        yield values if p.window is None else values.clip(*p.window)


def _network_grid(
    shape: IntTriple, affine: np.ndarray, spacing: Triple | None
) -> tuple[IntTriple, np.ndarray]:
    """Shape and affine at the wanted spacing; both grids have the same centre in the world.

    Sharing the centre, not a corner, makes the grid independent of flips.
    """
    if spacing is None:
        return shape, affine
    size = np.asarray(shape, float)
    ratio = np.asarray(spacing) / spacing_of(affine)
    ratio[np.abs(ratio - 1) < SPACING_TOLERANCE] = 1.0
    new = np.where(ratio == 1, size, np.maximum(1, np.rint(size / ratio)))
    step = np.eye(4)
    step[:3, :3] = np.diag(ratio)
    step[:3, 3] = (size - 1) / 2 - ratio * (new - 1) / 2
    x, y, z = (int(n) for n in new)
    return (x, y, z), affine @ step


def _argmax(maps: Any, shape: IntTriple) -> np.ndarray:
    """Index of the largest of the maps, voxel by voxel; the first one wins a tie."""
    best = np.full(shape, -np.inf, np.float32)
    index = np.zeros(shape, np.intp)
    for k, values in enumerate(maps):
        better = values > best
        best[better] = values[better]
        index[better] = k
    return index
