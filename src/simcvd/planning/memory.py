"""What a training step holds in memory, counted map by map; checked in docs/plan.md."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from simcvd.machine import free_memory
from simcvd.methods.registry import built_in, find
from simcvd.types import IntTriple

FLOAT = 4
# Two numbers are measured, all others counted: maps of one value a voxel and class that the
# losses hold at once, and what torch loads and keeps for itself from the first step on.
LOSS_MAPS = 8
BASE = 150_000_000
# Eq. (4) compares every voxel of the deepest map with every other; so many such matrices at once.
SIMILARITIES = 4
# Of the memory that is free, what a plan may fill.
SHARE = 0.7


def step_bytes(
    *,
    patch: IntTriple,
    channels: int,
    classes: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    strides: Sequence[IntTriple],
    batch: int,
    labeled_batch: int,
) -> int:
    """Peak of the step of the method that takes most, in float32, without the imports.

    The student's maps are kept for the way back. The teacher keeps what its skips need, on the
    unlabelled patches, and two maps in the making. Weights are there five times: student,
    gradient, momentum, teacher and the layout the convolutions work in.
    """
    voxels, maps = _sizes(patch, widths, strides)
    student = kept(patch, channels, widths, blocks, strides)
    gradients = 2 * maps[0]
    losses = LOSS_MAPS * classes * voxels
    teacher = sum(maps) + 2 * maps[0]
    values = batch * (student + gradients + losses) + (batch - labeled_batch) * teacher
    values += (batch - labeled_batch) * SIMILARITIES * (maps[-1] // widths[-1]) ** 2
    values += 5 * parameters(channels, classes, widths, blocks, strides)
    values += max(find(name).held(patch) for name in built_in())
    return FLOAT * values + BASE


def kept(
    patch: IntTriple,
    channels: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    strides: Sequence[IntTriple],
) -> int:
    """Values that the V-Net keeps of one patch for the way back.

    Two maps a convolution (its result, and that after batch norm and ReLU), one for each sum of
    a skip, one for each dropout, and the patch.
    """
    voxels, maps = _sizes(patch, widths, strides)
    encoder = 2 * sum(b * m for b, m in zip(blocks, maps, strict=True))
    down = 2 * sum(maps[1:])
    decoder = sum((2 * b + 3) * m for b, m in zip(blocks[:-1], maps[:-1], strict=True))
    return encoder + down + decoder + maps[-1] + maps[0] + channels * voxels


def _sizes(
    patch: IntTriple, widths: Sequence[int], strides: Sequence[IntTriple]
) -> tuple[int, list[int]]:
    """Voxels of the patch, and values of one map of each stage."""
    voxels = [prod(patch)]
    for stride in strides:
        voxels.append(voxels[-1] // prod(stride))
    return voxels[0], [w * v for w, v in zip(widths, voxels, strict=True)]


def parameters(
    channels: int,
    classes: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    strides: Sequence[IntTriple],
) -> int:
    """Weights of the V-Net, batch norm and biases left out."""
    count, before = 0, channels
    for i, (width, layers) in enumerate(zip(widths, blocks, strict=True)):
        count += 27 * ((before if i == 0 else width) + (layers - 1) * width) * width
        if i < len(strides):
            count += 2 * prod(strides[i]) * width * widths[i + 1] + 27 * layers * width**2
    return count + widths[0] * (2 * classes - 1)


def free_bytes() -> int:
    """Memory of the GPU if there is one, else of the machine, of which a plan may take a share."""
    import torch

    return free_memory("cuda" if torch.cuda.is_available() else "cpu")
