"""From a scan's own grid to the network's and back; shared by prepare and predict.

A scan is brought to the axes closest to RAS+ (flips and swaps only), normalised,
and resampled along its own axes, so that source and network grid always differ by
a signed permutation, a scale and a shift, and every resampling is separable.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from simcvd.data.io import spacing_of
from simcvd.types import IntTriple, SimcvdError, Triple, Volume

Normalization = Literal["none", "zscore", "ct"]
Crop = Literal["none", "nonzero", "label"]
Margin = tuple[int | None, int | None, int | None]
# A scan whose spacing is this close (relative) to the wanted one is not resampled.
SPACING_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is done to every scan before the network sees it.

    spacing: mm along the three RAS+ axes, or None to keep each scan's own.
    normalization: "none"; "zscore" over the whole scan, channel by channel; "ct" clips
    to `window` (Hounsfield units) first.
    crop: "nonzero" keeps the box of what is not background, "label" the ground truth's (see
    `simcvd.data.crop`); it comes before everything else, statistics included.
    margin: voxels left around that box along the RAS+ axes, of `spacing` where that is given,
    else of the scan's own; None leaves an axis whole.
    """

    spacing: Triple | None = None
    normalization: Normalization = "zscore"
    window: tuple[float, float] | None = None
    crop: Crop = "none"
    margin: Margin = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.spacing is not None and not all(0 < s < np.inf for s in self.spacing):
            raise SimcvdError(f"spacing must be three positive numbers in mm, not {self.spacing}.")
        if self.normalization not in get_args(Normalization):
            choices = ", ".join(get_args(Normalization))
            raise SimcvdError(f"normalization '{self.normalization}' is none of: {choices}.")
        if (self.normalization == "ct") != (self.window is not None):
            raise SimcvdError("a window (low, high) goes with normalization 'ct', and only there.")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise SimcvdError(f"window {self.window}: the low value must be below the high one.")
        self._check_crop()

    def _check_crop(self) -> None:
        if self.crop not in get_args(Crop):
            raise SimcvdError(f"crop '{self.crop}' is none of: {', '.join(get_args(Crop))}.")
        if any(voxels is not None and voxels < 0 for voxels in self.margin):
            raise SimcvdError(f"margin {self.margin}: needs three numbers of voxels, 0 or more.")
        if self.crop == "none" and self.margin != (0, 0, 0):
            raise SimcvdError("a margin goes with a crop, 'nonzero' or 'label'; give one of them.")

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `from_json` reads back; without a crop it does not name one.

        So the hash of data that are not cropped is what it was before there were crops.
        """
        values = asdict(self)
        if self.crop == "none":
            del values["crop"], values["margin"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preprocessing:
        """The inverse of `to_json`; lists become tuples, unknown names raise TypeError."""
        fixed: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**fixed)


def to_network(volume: Volume, p: Preprocessing) -> Volume:
    """A scan ``[C, X, Y, Z]`` on the network's grid, float32, with that grid's affine.

    Going coarser is anti-aliased (Cardoso et al., MICCAI 2015: the point spread of the
    coarser scanner). Statistics are those of the scan at its own resolution.
    """
    volume = canonical(volume)
    array = np.stack([_normalised(channel, p) for channel in volume.array])
    shape, affine = _network_grid(array.shape[1:], volume.affine, p.spacing)
    maps = _axis_maps(affine, volume.affine)
    channels = [_resampled(channel, shape, maps, blur=True) for channel in array]
    return Volume(array=np.stack(channels), affine=affine)


def label_to_network(label: Volume, p: Preprocessing) -> Volume:
    """A label map ``[X, Y, Z]`` on the same grid: each value linearly, then the largest."""
    label = canonical(label)
    shape, affine = _network_grid(label.array.shape, label.affine, p.spacing)
    if shape == label.array.shape:
        return Volume(array=label.array, affine=affine)
    maps = _axis_maps(affine, label.affine)
    values = np.unique(label.array)
    shares = (_resampled((label.array == v).astype(np.float32), shape, maps) for v in values)
    return Volume(array=values[_argmax(shares, shape)], affine=affine)


def to_source(
    probabilities: np.ndarray,
    affine: np.ndarray,
    source_shape: IntTriple,
    source_affine: np.ndarray,
) -> np.ndarray:
    """Labels ``[X, Y, Z]`` in the source's grid from ``[K, X', Y', Z']`` on the network's.

    Each class's probability is resampled linearly, then the most probable class is
    taken, one class at a time: memory is that of two float maps of the source's shape.
    Returns uint8 (uint16 beyond 256 classes). Raises SimcvdError if the two grids do
    not share their axes, which `to_network` guarantees.
    """
    maps = _axis_maps(source_affine, affine)
    classes = (_resampled(np.asarray(p, np.float32), source_shape, maps) for p in probabilities)
    dtype = np.uint8 if len(probabilities) <= 256 else np.uint16
    return _argmax(classes, source_shape).astype(dtype)


def canonical(volume: Volume) -> Volume:
    """The same voxels with axes flipped and swapped to be closest to RAS+, C-contiguous.

    Contiguous, so that sums over the scan are taken in the same order whatever the
    file's orientation: a re-oriented scan then gives the same bits.
    """
    from nibabel import orientations

    spatial = volume.array.shape[-3:]
    turn = orientations.io_orientation(volume.affine)
    arrays = volume.array.reshape(-1, *spatial)
    turned = np.stack([orientations.apply_orientation(array, turn) for array in arrays])
    array = turned[0] if volume.array.ndim == 3 else turned
    _, affine = canonical_grid(spatial, volume.affine)
    return Volume(array=np.ascontiguousarray(array), affine=affine)


def canonical_grid(shape: IntTriple, affine: np.ndarray) -> tuple[IntTriple, np.ndarray]:
    """Shape and affine that `canonical` gives a grid."""
    from nibabel import orientations

    turn = orientations.io_orientation(affine)
    x, y, z = (shape[int(axis)] for axis in np.argsort(turn[:, 0]))
    return (x, y, z), affine @ orientations.inv_ornt_aff(turn, shape)


def _normalised(channel: np.ndarray, p: Preprocessing) -> np.ndarray:
    if p.normalization == "none":
        return channel.astype(np.float32)
    if p.window is not None:
        channel = channel.clip(*p.window)
    mean = channel.mean(dtype=np.float64)
    std = channel.std(dtype=np.float64)
    # A constant scan has nothing to scale; it becomes zero everywhere.
    scaled: np.ndarray = (channel - mean) / (std if std > 0 else 1.0)
    return scaled.astype(np.float32)


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


AxisMap = tuple[int, float, float]


def _axis_maps(target: np.ndarray, source: np.ndarray) -> list[AxisMap]:
    """For each target axis: which source axis it runs along, and index -> scale, shift."""
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


def _resampled(
    array: np.ndarray, shape: IntTriple, maps: list[AxisMap], *, blur: bool = False
) -> np.ndarray:
    """`array` read at the target's voxel centres, one axis after the other."""
    array = array.transpose([axis for axis, _, _ in maps])
    for axis, (_, scale, shift) in enumerate(maps):
        if shape[axis] == array.shape[axis] and scale == 1 and shift == 0:
            continue
        weights = _weights(array.shape[axis], shape[axis], scale, shift, blur)
        moved = np.moveaxis(array, axis, 0)
        flat = weights @ np.ascontiguousarray(moved).reshape(len(moved), -1)
        array = np.moveaxis(flat.reshape(shape[axis], *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(array)


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


def _argmax(maps: Any, shape: IntTriple) -> np.ndarray:
    """Index of the largest of the maps, voxel by voxel; the first one wins a tie."""
    best = np.full(shape, -np.inf, np.float32)
    index = np.zeros(shape, np.intp)
    for k, values in enumerate(maps):
        better = values > best
        best[better] = values[better]
        index[better] = k
    return index
