"""ICT: interpolation consistency training (Verma et al., IJCAI 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta

from simcvd.losses.consistency import consistency
from simcvd.losses.segmentation import supervised
from simcvd.methods.base import Average, Method, NetworkFactory, frozen_copy
from simcvd.ranges import Positive, Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of ICT."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg; the rest is Dice."""
    weight: Weight = 0.1
    """Weight of the consistency after the ramp."""
    ema: Share = 0.99
    """Decay of the teacher, an average of the student's weights."""
    concentration: Positive = 0.2
    """The a of Beta(a, a), from which the shares of a mix are drawn."""


class InterpolationConsistency(Method):
    """The student's answer to a mix of two patches is the mix of the teacher's two answers."""

    title = "ICT"
    steady = True
    cost = 0.95
    revision = 2  # as published; 1 was ours
    least_unlabeled = 2  # one would be mixed with itself

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()
        self.teacher = frozen_copy(self.network)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg on the labelled half. con: squared error on the mixes, one a pair."""
        labeled, unlabeled = batch.image[: batch.labeled], batch.image[batch.labeled :]
        share = draw_shares(len(unlabeled) // 2, self.config.concentration, unlabeled.device)
        share = share.to(unlabeled.dtype)
        known, student = self.network(torch.cat([labeled, mix(unlabeled, share)])).split(
            batch.labeled
        )
        with torch.no_grad():  # each patch alone, by the statistics of its own
            alone = [self.teacher(patch).probabilities for patch in unlabeled.split(1)]
            target = mix(torch.cat(alone), share)
        return {
            "seg": supervised(known, batch.label, self.config.cross_entropy),
            "con": consistency(student.probabilities, target),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """The consistency follows the Gaussian ramp."""
        return {"seg": 1.0, "con": self.config.weight * gaussian_ramp(progress.fraction)}

    def averages(self) -> list[Average]:
        """The teacher follows the student."""
        return [Average(self.teacher, self.network, self.config.ema)]


def draw_shares(count: int, concentration: float, device: torch.device) -> Tensor:
    """One lambda ~ Beta(a, a) a mix, ``[count, 1, 1, 1, 1]``.

    Drawn in float64: at a = 0.2 float32 draws round to 0 or 1 and can become NaN.
    """
    a = torch.full((), concentration, dtype=torch.float64, device=device)
    return Beta(a, a, validate_args=False).sample((count, 1, 1, 1, 1))


def mix(x: Tensor, share: Tensor) -> Tensor:
    """Pairs of ``x`` ``[U, ...]``, the first with the second and so on: ``[U // 2, ...]``.

    ``share`` is of the first of a pair. The last of an odd number is left out.
    """
    pairs = x[: 2 * len(share)].unflatten(0, (-1, 2))
    return share * pairs[:, 0] + (1 - share) * pairs[:, 1]
