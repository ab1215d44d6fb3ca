"""How many runs of a grid memory holds side by side."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from simcvd.benchmark.protocols import Protocol
from simcvd.data.cache import Cache
from simcvd.networks.vnet import VNetConfig
from simcvd.planning.memory import SHARE, step_bytes
from simcvd.training.recipes import PAPER, find_recipe

FLOAT16 = 2  # a prepared voxel


class Fit(NamedTuple):
    """jobs: runs at once, at most as many as asked for. note: why they are fewer, else ""."""

    jobs: int
    note: str = ""


def fit(jobs: int, protocol: Protocol, cache: Cache, free: int, *, gpus: int) -> Fit:
    """As many of ``jobs`` runs as a share of ``free`` bytes holds, and never less than one.

    gpus: if any, the bytes are each one's, where a run keeps the training scans, too. A run is
    counted as a plan counts it: as the largest method's, in float32. In bfloat16 one takes less,
    with two students more.
    """
    known, unknown = (protocol.labeled_batch, protocol.batch - protocol.labeled_batch)
    if protocol.recipe != PAPER.name:
        known, unknown = find_recipe(protocol.recipe).train.patches(uses_unlabeled=True)
    one = step_bytes(
        network=VNetConfig(
            widths=protocol.widths, blocks=protocol.blocks, strides=protocol.strides
        ),
        patch=protocol.patch,
        channels=cache.task_info.channels,
        classes=cache.task_info.classes,
        batch=known + unknown,
        labeled_batch=known,
        planned=False,
    )
    if gpus:
        voxels = sum(prod(cache.manifest.cases[name].shape) for name in cache.train)
        one += FLOAT16 * cache.task_info.channels * voxels
    held = max(int(SHARE * free) // one, 1) * max(gpus, 1)
    if held >= jobs:
        return Fit(jobs)
    return Fit(
        held,
        f"{held} side by side, not {jobs}: a run takes about {one / 1e9:.1f} GB, and of "
        f"{free / 1e9:.1f} GB free{' on a GPU' if gpus else ''} {SHARE:.0%} may be filled",
    )
