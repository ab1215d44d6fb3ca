"""The numbers that a step takes from its place in the run, apart from what it does with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Number = float | Tensor


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """All floats, or all scalars of a device.

    step: counted from 0. rate: learning rate of the players that follow the run's. weights: of the
    terms, by name. shares: by how much each average moves towards its source.
    """

    step: Number
    rate: Number
    weights: Mapping[str, Number]
    shares: Sequence[Number]

    def flat(self) -> list[Number]:
        """One after the other, as many and in the same order at every step."""
        return [self.step, self.rate, *self.weights.values(), *self.shares]

    def read_from(self, row: Tensor) -> Numbers:
        """The same numbers as scalars of ``row``, which holds `flat` of any step of the run."""
        step, rate, *others = row.unbind()
        count = len(self.weights)
        return Numbers(
            step=step,
            rate=rate,
            weights=dict(zip(self.weights, others[:count], strict=True)),
            shares=others[count:],
        )


def row_of(numbers: Numbers, *, pinned: bool) -> Tensor:
    """Floats as a row of the host's memory, for `Numbers.read_from`.

    pinned: so that a GPU copies it by itself.
    """
    return torch.tensor(numbers.flat(), pin_memory=pinned)
