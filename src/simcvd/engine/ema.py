"""Moving averages of parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from simcvd.methods.base import Average
from simcvd.schedules import warm_decay


@torch.no_grad()
def update_averages(averages: Iterable[Average], step: int) -> None:
    """theta_t <- d theta_t + (1 - d) theta_s with d = min(1 - 1 / (step + 1), decay).

    Parameters only, the average normalising with its own batch statistics (Yu et al. 2019);
    with ``Average.statistics`` its floating-point buffers too.
    """
    for average, source, decay, statistics in averages:
        weight = 1.0 - warm_decay(step, decay)
        targets, sources = _tensors(average, statistics), _tensors(source, statistics)
        torch._foreach_lerp_(targets, sources, weight)


def _tensors(module: nn.Module, statistics: bool) -> list[Tensor]:
    tensors: list[Tensor] = list(module.parameters())
    return tensors + [b for b in module.buffers() if statistics and b.is_floating_point()]
