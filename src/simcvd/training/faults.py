"""Loss terms that are not finite, found on the device so that no step has to wait for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, distributed

from simcvd.losses.gather import processes
from simcvd.training.numbers import Number
from simcvd.types import SimcvdError

NEVER = -1.0  # a step that no term was bad at


class Faults:
    """Looks at every step's terms, and says what it saw when it is asked.

    found: a scalar on the device, 0 until a term of any process is not finite, 1 from then on.
    """

    def __init__(self, device: torch.device) -> None:
        self.found = torch.zeros((), device=device)
        self._first: dict[tuple[str, ...], Tensor] = {}  # the step that each term was first bad at

    def look_at(self, terms: Mapping[str, Tensor], step: Number) -> None:
        """Before these terms' optimisers take their step."""
        names = tuple(terms)
        if names not in self._first:
            self._first[names] = torch.full((len(names),), NEVER, device=self.found.device)
        bad = ~torch.stack([term.detach().isfinite() for term in terms.values()])
        first, now = self._first[names], bad & (self.found == 0)
        if isinstance(step, Tensor):  # whose value masked_fill_ would wait for
            first.copy_(torch.where(now, step, first))
        else:
            first.masked_fill_(now, step)
        self.found.masked_fill_(bad.any(), 1)
        if processes() > 1:
            distributed.all_reduce(self.found, distributed.ReduceOp.MAX)

    def refuse(self, cases: Callable[[int], Sequence[str]]) -> None:
        """Wait for the device, and raise SimcvdError if a term was not finite.

        cases: of a step, the names of its batch.
        """
        if not self.found.item():
            return
        bad = {
            name: int(step)
            for names, first in self._first.items()
            for name, step in zip(names, first.tolist(), strict=True)
            if step != NEVER
        }
        if not bad:
            raise SimcvdError("a term of another process is not finite; its message names it")
        step = min(bad.values())
        raise SimcvdError(
            f"step {step}: {' and '.join(bad)} not finite on the cases {', '.join(cases(step))}. "
            "The last checkpoint, from before this step, is kept. `simcvd check` looks for odd "
            "intensities in the scans; or lower train.lr, in another --out"
        )


def check_weights(weights: dict[str, Tensor], step: int) -> None:
    """Keep out of the checkpoints what an infinite gradient of a finite term has made."""
    bad = [name for name, value in weights.items() if not value.isfinite().all()]
    if bad:
        raise SimcvdError(
            f"before step {step}: {bad[0]}{f' and {len(bad) - 1} more' if bad[1:] else ''} not "
            "finite, though every loss term was. The last checkpoint is from before that; lower "
            "train.lr, or leave a term out to find whose gradient it is"
        )
