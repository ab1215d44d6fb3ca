"""Moving averages of parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from simcvd.methods.base import Average
from simcvd.schedules import warm_decay


@torch.no_grad()
def update_averages(averages: Iterable[Average], step: int) -> None:
    """theta_t <- d theta_t + (1 - d) theta_s with d = min(1 - 1 / (step + 1), decay).

    Parameters only: the average normalises with its own batch statistics (Yu et al. 2019).
    """
    for average, source, decay in averages:
        weight = 1.0 - warm_decay(step, decay)
        targets: list[Tensor] = list(average.parameters())
        sources: list[Tensor] = list(source.parameters())
        torch._foreach_lerp_(targets, sources, weight)
