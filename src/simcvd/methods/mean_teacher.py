"""Mean Teacher (Tarvainen and Valpola, NeurIPS 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simcvd.losses.consistency import consistency
from simcvd.losses.segmentation import supervised
from simcvd.methods.base import Average, Method, NetworkFactory, frozen_copy
from simcvd.ranges import Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.transforms.intensity import draw_noise
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of Mean Teacher."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg; the rest is Dice."""
    weight: Weight = 0.1
    """Weight of the consistency after the ramp."""
    ema: Share = 0.99
    """Decay of the teacher, an average of the student's weights."""


class MeanTeacher(Method):
    """The student agrees with its own moving average on unlabelled scans under noise."""

    title = "MT"
    steady = True
    cost = 1.2

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()
        self.teacher = frozen_copy(self.network)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg on the labelled half. con: squared error of the class probabilities."""
        unlabeled = batch.image[batch.labeled :]
        known, student = self.network(batch.image).split(batch.labeled)
        with torch.no_grad():
            target = self.teacher(unlabeled + draw_noise(unlabeled))
        return {
            "seg": supervised(known, batch.label, self.config.cross_entropy),
            "con": consistency(student.probabilities, target.probabilities),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """The consistency follows the Gaussian ramp."""
        return {"seg": 1.0, "con": self.config.weight * gaussian_ramp(progress.fraction)}

    def averages(self) -> list[Average]:
        """The teacher follows the student."""
        return [Average(self.teacher, self.network, self.config.ema)]
