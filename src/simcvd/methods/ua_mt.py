"""UA-MT: uncertainty-aware mean teacher (Yu et al., MICCAI 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from simcvd.losses.entropy import certain_consistency, entropy
from simcvd.losses.segmentation import supervised
from simcvd.methods.base import Average, Method, NetworkFactory, frozen_copy
from simcvd.ranges import Count, Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.transforms.intensity import draw_noise
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of UA-MT."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg; the rest is Dice."""
    weight: Weight = 0.1
    """Weight of the consistency after the ramp."""
    ema: Share = 0.99
    """Decay of the teacher, an average of the student's weights."""
    passes: Count = 8
    """Passes of the teacher, whose spread is its uncertainty."""
    certain: Share = 0.75
    """Where the threshold of certainty begins, as a share of the highest entropy; it is ramped to
    all of it."""


class UncertaintyAwareMeanTeacher(Method):
    """The student agrees with its moving average where that one is sure of itself."""

    title = "UA-MT"
    steady = True
    cost = 2.5

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.most = log(task.classes)
        self.network = build()
        self.teacher = frozen_copy(self.network)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg on the labelled half. con: squared error on the voxels that are certain."""
        config, unlabeled = self.config, batch.image[batch.labeled :]
        known, student = self.network(batch.image).split(batch.labeled)
        with torch.no_grad():
            target = self._noisy(unlabeled)
            mean = torch.stack([self._noisy(unlabeled) for _ in range(config.passes)]).mean(0)
        share = config.certain + (1 - config.certain) * gaussian_ramp(progress.fraction)
        return {
            "seg": supervised(known, batch.label, config.cross_entropy),
            "con": certain_consistency(
                student.probabilities, target, entropy(mean), share * self.most
            ),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """The consistency follows the Gaussian ramp."""
        return {"seg": 1.0, "con": self.config.weight * gaussian_ramp(progress.fraction)}

    def averages(self) -> list[Average]:
        """The teacher follows the student."""
        return [Average(self.teacher, self.network, self.config.ema)]

    def _noisy(self, x: Tensor) -> Tensor:
        """The teacher's probabilities under fresh noise and dropout."""
        probabilities: Tensor = self.teacher(x + draw_noise(x)).probabilities
        return probabilities
