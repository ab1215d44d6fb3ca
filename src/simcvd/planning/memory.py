"""What a training step holds in memory, counted map by map; checked in docs/plan.md."""

from __future__ import annotations

from simcvd.machine import free_memory
from simcvd.methods.registry import built_in, find
from simcvd.networks.base import Architecture
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
    network: Architecture,
    patch: IntTriple,
    channels: int,
    classes: int,
    batch: int,
    labeled_batch: int,
    planned: bool = True,
) -> int:
    """Peak of the step of the method that takes most, in float32, without the imports.

    planned: whether methods have the settings of a plan for this patch, or their own defaults.

    The student's maps are kept for the way back. The teacher keeps what its skips need, on the
    unlabelled patches, and two maps in the making. Weights are there five times: student,
    gradient, momentum, teacher and the layout the convolutions work in.
    """
    voxels, maps = network.voxels(patch), network.maps(patch)
    student = network.kept(patch, channels)
    gradients = 2 * maps[0]
    losses = LOSS_MAPS * classes * voxels[0]
    teacher = sum(maps) + 2 * maps[0]
    values = batch * (student + gradients + losses) + (batch - labeled_batch) * teacher
    values += (batch - labeled_batch) * SIMILARITIES * voxels[-1] ** 2
    values += 5 * network.parameters(channels, classes)
    values += max(find(name).held(patch if planned else None) for name in built_in())
    return FLOAT * values + BASE


def free_bytes() -> int:
    """Memory of the GPU if there is one, else of the machine, of which a plan may take a share."""
    import torch

    return free_memory("cuda" if torch.cuda.is_available() else "cpu")
