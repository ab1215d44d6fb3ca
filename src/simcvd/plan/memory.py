"""What a training step holds in memory, counted map by map; checked in docs/plan.md."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from simcvd.types import IntTriple

FLOAT = 4
# Maps of one value a voxel and class that the losses of SimCVD hold at once (measured).
LOSS_MAPS = 12
HIDDEN = 512  # of SimCVD's projection head
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
    pool: int = 128,
) -> int:
    """Peak of a SimCVD step in float32, without what Python and torch take themselves.

    The student's maps are kept for the way back: two a convolution (its result, and that after
    batch norm and ReLU), one for each skip. The teacher keeps what its skips need, on the
    unlabelled patches. Weights are there five times: student, gradient, momentum, teacher and
    the layout the convolutions work in.
    """
    voxels = [patch[0] * patch[1] * patch[2]]
    for x, y, z in strides:
        voxels.append(voxels[-1] // (x * y * z))
    maps = [w * v for w, v in zip(widths, voxels, strict=True)]
    student = 2 * sum(b * m for b, m in zip(blocks, maps, strict=True))  # encoder
    student += 2 * sum(maps[1:])  # down
    student += sum((2 * b + 3) * m for b, m in zip(blocks[:-1], maps[:-1], strict=True))
    student += maps[-1] + maps[0] + channels * voxels[0]
    teacher = sum(maps) + 2 * maps[0]
    gradients = 2 * maps[0]
    losses = LOSS_MAPS * classes * voxels[0]
    unlabeled = batch - labeled_batch
    values = batch * (student + gradients + losses) + unlabeled * teacher
    values += 5 * parameters(channels, classes, widths, blocks, strides)
    values += 5 * HIDDEN * pool**2
    return FLOAT * values


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
            x, y, z = strides[i]
            count += 2 * x * y * z * width * widths[i + 1] + 27 * layers * width**2
    return count + widths[0] * (2 * classes - 1)


def free_bytes() -> int:
    """Memory of the GPU if there is one, else of the machine, of which a plan may take a share."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return min(_available(), _limit())


def _available() -> int:
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _limit() -> int:
    """What a container may take, as far as it says so."""
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(name)
        if path.is_file() and (text := path.read_text(encoding="utf-8").strip()).isdigit():
            return int(text)
    return 1 << 62
