"""Moving averages of parameters and, where asked for, of running statistics."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from simcvd.methods.base import Average
from simcvd.schedules import warm_decay


@torch.no_grad()
def update_averages(averages: Iterable[Average], step: int) -> None:
    """theta_t <- d theta_t + (1 - d) theta_s with d = min(1 - 1 / (step + 1), decay).

    Parameters only, where the average normalises with its own batch statistics (Yu et al. 2019).
    """
    for average, source, decay, statistics in averages:
        weight = 1.0 - warm_decay(step, decay)
        torch._foreach_lerp_(_followed(average, statistics), _followed(source, statistics), weight)


def _followed(module: nn.Module, statistics: bool) -> list[Tensor]:
    buffers = [b for b in module.buffers() if b.is_floating_point()] if statistics else []
    return [*module.parameters(), *buffers]
