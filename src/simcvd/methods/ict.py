"""ICT: interpolation consistency training (Verma et al., IJCAI 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta

from simcvd.losses.consistency import consistency
from simcvd.losses.segmentation import segmentation
from simcvd.methods.base import Average, Method, NetworkFactory, frozen_copy
from simcvd.ranges import Positive, Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """cross_entropy: share in L_seg. weight: of the consistency, ramped. ema: teacher's decay.

    concentration: a of Beta(a, a), from which the shares of a mix are drawn.
    """

    cross_entropy: Share = 0.5
    weight: Weight = 0.1
    ema: Share = 0.99
    concentration: Positive = 0.2


class InterpolationConsistency(Method):
    """The student's answer to a mix of two patches is the mix of the teacher's two answers."""

    least_unlabeled = 2  # one would be mixed with itself

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()
        self.teacher = frozen_copy(self.network)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg on the labelled half. con: squared error on the mixes."""
        labeled, unlabeled = batch.image[: batch.labeled], batch.image[batch.labeled :]
        share = draw_shares(unlabeled, self.config.concentration)
        both = self.network(torch.cat([labeled, mix(unlabeled, share)]))
        known, student = both.split(batch.labeled)
        with torch.no_grad():
            target = mix(self.teacher(unlabeled).probabilities, share)
        return {
            "seg": segmentation(known.logits, batch.label, self.config.cross_entropy),
            "con": consistency(student.probabilities, target),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """The consistency follows the Gaussian ramp."""
        return {"seg": 1.0, "con": self.config.weight * gaussian_ramp(progress.fraction)}

    def averages(self) -> list[Average]:
        """The teacher follows the student."""
        return [Average(self.teacher, self.network, self.config.ema)]


def draw_shares(x: Tensor, concentration: float) -> Tensor:
    """One lambda ~ Beta(a, a) a patch, ``[U, 1, 1, 1, 1]``.

    Drawn on the CPU in float64: at a = 0.2 float32 draws round to 0 or 1 and can become NaN.
    """
    a = torch.tensor(concentration, dtype=torch.float64)
    return Beta(a, a).sample((len(x), 1, 1, 1, 1)).to(x)


def mix(x: Tensor, share: Tensor) -> Tensor:
    """Each patch of ``x`` ``[U, ...]``, by its share, with the one before; the first, the last."""
    return share * x + (1 - share) * x.roll(1, 0)
