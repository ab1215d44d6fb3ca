"""Rows of every process, with gradients, so that negatives grow with the number of processes."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """All processes' ``[N, D_h]`` rows as ``[M, D_h]``, and the index of the first own row.

    Every process must bring the same N. Gradients flow back to the process a row came from.
    """
    if processes() == 1:
        return rows, 0
    first = distributed.get_rank() * len(rows)
    return torch.cat(_Gather.apply(rows)), first  # type: ignore[no-untyped-call]


def processes() -> int:
    """How many processes train together."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


class _Gather(torch.autograd.Function):
    """all_gather whose backward sums each process's gradient of the rows it was given."""

    @staticmethod
    def forward(context, rows: Tensor) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]
        gathered = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(gathered, rows.contiguous())
        return tuple(gathered)

    @staticmethod
    def backward(context, *gradients: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        stacked = torch.stack(gradients)
        distributed.all_reduce(stacked)
        return stacked[distributed.get_rank()]
