"""Target spacing, patch and down-sampling from the grids of the scans."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod

import numpy as np

from simcvd.types import IntTriple, SimcvdError, Triple
from simcvd.wording import counted

# One axis so many times coarser than the two others is that of thick slices.
THICK = 3.0
THICK_PERCENTILE = 10
# The benchmark's V-Net has five stages; an axis is pooled while this many voxels are left.
STAGES = 5
FEWEST = 4
# The patch of the left-atrium benchmark, the largest that the method was made and measured with.
MAX_VOXELS = 112 * 112 * 80
SHRINK = 0.97

Fits = Callable[[IntTriple, tuple[IntTriple, ...]], bool]


def target_spacing(spacings: np.ndarray) -> tuple[Triple, str]:
    """The spacing (mm, RAS+) all scans are brought to, and why.

    spacings: ``[N, 3]`` mm. The median of each axis; an axis of thick slices takes its 10th
    percentile instead, as nnU-Net does (Isensee et al. 2021), but none finer than the others.
    """
    target = np.median(spacings, axis=0)
    coarse = int(target.argmax())
    others = np.delete(target, coarse).max()
    reason = f"Median of {counted(len(spacings), 'scan')}."
    if target[coarse] >= THICK * others:
        tenth = np.percentile(spacings[:, coarse], THICK_PERCENTILE)
        reason = (
            f"Median of {counted(len(spacings), 'scan')}; the slices are "
            f"{target[coarse] / others:.1f} times as thick as the voxels are wide, so that axis "
            f"takes its {THICK_PERCENTILE}th percentile (its median is {target[coarse]:.4g} mm)."
        )
        target[coarse] = max(tenth, others)
    x, y, z = (float(f"{value:.4g}") for value in target)
    return (x, y, z), reason


def sizes_at(shapes: np.ndarray, spacings: np.ndarray, target: Triple) -> IntTriple:
    """Median size in voxels at the target spacing, from shapes and spacings ``[N, 3]``."""
    median = np.median(shapes * spacings / np.asarray(target), axis=0)
    x, y, z = (max(1, int(n)) for n in np.rint(median))
    return x, y, z


def poolings(patch: IntTriple, spacing: Triple) -> tuple[IntTriple, ...]:
    """Strides of the network, the finest stage first.

    Each step halves the axes whose voxels are less than twice as long as the shortest that can
    still be halved, which is so while 4 voxels or more are left.
    """
    size, length = list(patch), list(spacing)
    strides: list[IntTriple] = []
    while len(strides) < STAGES - 1:
        able = [axis for axis in range(3) if size[axis] // 2 >= FEWEST]
        if not able:
            break
        finest = min(length[axis] for axis in able)
        halved = [axis in able and length[axis] < 2 * finest for axis in range(3)]
        x, y, z = (2 if half else 1 for half in halved)
        strides.append((x, y, z))
        size = [n // 2 if half else n for n, half in zip(size, halved, strict=True)]
        length = [2 * s if half else s for s, half in zip(length, halved, strict=True)]
    return tuple(strides)


def fitted_patch(
    size: IntTriple, spacing: Triple, fits: Fits
) -> tuple[IntTriple, tuple[IntTriple, ...]]:
    """The patch and its strides: the largest cube in mm, cut to the scan, that fits.

    size: of the median scan in voxels. fits: whether memory holds a patch with its strides.
    Raises SimcvdError when not even a patch of a few voxels does.
    """
    edge = max(n * s for n, s in zip(size, spacing, strict=True))
    while edge >= FEWEST * min(spacing):
        patch, strides = _patch_of(edge, size, spacing)
        if prod(patch) <= MAX_VOXELS and fits(patch, strides):
            return patch, strides
        edge *= SHRINK
    patch, strides = _patch_of(edge, size, spacing)
    if fits(patch, strides):
        return patch, strides
    raise SimcvdError(
        f"there is not enough memory to train on patches of even {patch} voxels. Free some, or "
        "say how much there is with --memory."
    )


def _patch_of(
    edge: float, size: IntTriple, spacing: Triple
) -> tuple[IntTriple, tuple[IntTriple, ...]]:
    """A cube of `edge` mm: rounded up along axes that it covers whole, down along the others."""
    wanted = [max(1, min(n, int(edge / s))) for n, s in zip(size, spacing, strict=True)]
    strides = poolings((wanted[0], wanted[1], wanted[2]), spacing)
    patch = []
    for axis in range(3):
        step = prod(stride[axis] for stride in strides)
        whole = wanted[axis] == size[axis]
        patch.append(ceil(wanted[axis] / step) * step if whole else wanted[axis] // step * step)
    return (patch[0], patch[1], patch[2]), strides
