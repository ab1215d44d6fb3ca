"""Reading a volume at another grid's voxel centres, axis by axis: linear, anti-aliased if asked."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from simcvd.types import IntTriple, SimcvdError

AxisMap = tuple[int, float, float]
"""Of one target axis: the source axis it runs along, and scale and shift of its indices there."""


def axis_maps(target: np.ndarray, source: np.ndarray) -> list[AxisMap]:
    """One map for each target axis. Raises SimcvdError if the grids do not share their axes."""
    link = np.linalg.inv(source) @ target
    matrix = link[:3, :3]
    axes = np.abs(matrix).argmax(axis=0)
    rest = matrix.copy()
    rest[axes, range(3)] = 0
    if len(set(axes)) < 3 or np.abs(rest).max() > 1e-3 * np.abs(matrix).max():
        raise SimcvdError(
            "the two grids do not share their axes, so labels cannot be carried over: "
            f"{source.tolist()} and {target.tolist()}."
        )
    # Rounded, so that identical positions stay exactly so through the matrix inversion.
    return [(int(a), *np.round((matrix[a, i], link[a, 3]), 9)) for i, a in enumerate(axes)]


def resampled(
    array: np.ndarray,
    shape: IntTriple,
    maps: list[AxisMap],
    *,
    blur: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """`array` read at the target's voxel centres, one axis after the other, in float32.

    out: where the result goes. Without one a grid that is the array's own gives a view of it.
    """
    array = array.transpose([axis for axis, _, _ in maps])
    steps = [
        (axis, scale, shift)
        for axis, (_, scale, shift) in enumerate(maps)
        if (shape[axis], scale, shift) != (array.shape[axis], 1, 0)
    ]
    for number, (axis, scale, shift) in enumerate(steps, start=1):
        weights = _weights(array.shape[axis], shape[axis], scale, shift, blur)
        size = (*array.shape[:axis], shape[axis], *array.shape[axis + 1 :])
        last = number == len(steps)
        target = out if last and out is not None else np.empty(size, np.float32)
        array = _weighted(weights, array, axis, target)
    if out is not None and not steps:
        out[...] = array
    return array


def _weighted(
    weights: sparse.csr_array, array: np.ndarray, axis: int, out: np.ndarray
) -> np.ndarray:
    """Fill `out` with the weighted sums of `array` along an axis, plane by plane; returns it."""
    other = 1 if axis == 0 else 0
    planes, filled = (np.moveaxis(a, (other, axis), (0, 1)) for a in (array, out))
    for source, target in zip(planes, filled, strict=True):
        target[...] = weights @ np.ascontiguousarray(source)
    return out


def _weights(n: int, n_new: int, scale: float, shift: float, blur: bool) -> sparse.csr_array:
    """``[n_new, n]``: linear interpolation at ``scale * i + shift``, edges repeated."""
    position = np.clip(np.arange(n_new) * scale + shift, 0, n - 1)
    low = np.minimum(position.astype(int), max(n - 2, 0))
    high = np.minimum(low + 1, n - 1)
    share = (position - low).astype(np.float32)
    rows = np.arange(n_new)
    entries = (np.concatenate([1 - share, share]), (np.tile(rows, 2), np.concatenate([low, high])))
    linear = sparse.csr_array(entries, shape=(n_new, n))
    if blur and abs(scale) > 1:
        linear = sparse.csr_array(linear @ _gaussian(n, abs(scale)))
    return linear.astype(np.float32)


def _gaussian(n: int, ratio: float) -> sparse.csr_array:
    """``[n, n]`` smoothing that turns a voxel's point spread into one `ratio` times wider."""
    sigma = np.sqrt((ratio**2 - 1) / (8 * np.log(2)))
    radius = int(np.ceil(4 * sigma))
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    rows = np.repeat(np.arange(n), len(offsets))
    columns = np.clip(rows + np.tile(offsets, n), 0, n - 1)
    return sparse.csr_array((np.tile(kernel / kernel.sum(), n), (rows, columns)), shape=(n, n))
