"""Moving averages of parameters and, where asked for, of running statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from simcvd.methods.base import Average
from simcvd.schedules import warm_decay
from simcvd.training.numbers import Number


def shares_of(averages: Iterable[Average], step: int) -> list[float]:
    """Of each, 1 - d with d = min(1 - 1 / (step + 1), decay)."""
    return [1.0 - warm_decay(step, average.decay) for average in averages]


@torch.no_grad()
def update_averages(averages: Iterable[Average], shares: Sequence[Number]) -> None:
    """theta_t <- (1 - share) theta_t + share theta_s, a share for each average.

    Parameters only, where the average normalises with its own batch statistics (Yu et al. 2019).
    """
    for (average, source, _, statistics), share in zip(averages, shares, strict=True):
        to, of = _followed(average, statistics), _followed(source, statistics)
        if isinstance(share, Tensor):  # one for all, which lerp does not take
            change = torch._foreach_sub(of, to)
            torch._foreach_mul_(change, share)
            torch._foreach_add_(to, change)
        else:
            torch._foreach_lerp_(to, of, share)


def _followed(module: nn.Module, statistics: bool) -> list[Tensor]:
    buffers = [b for b in module.buffers() if b.is_floating_point()] if statistics else []
    return [*module.parameters(), *buffers]
