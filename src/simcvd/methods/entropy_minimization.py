"""Entropy minimisation, the direct form of ADVENT (Vu et al., CVPR 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from simcvd.losses.entropy import mean_entropy
from simcvd.losses.segmentation import supervised
from simcvd.methods.base import Method, NetworkFactory
from simcvd.ranges import Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of entropy minimisation."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg; the rest is Dice."""
    weight: Weight = 0.1
    """Weight of the entropy after the ramp."""


class EntropyMinimization(Method):
    """Predictions are made certain on all patches, labelled or not."""

    title = "Entropy Mini"
    steady = True
    cost = 1.0

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg on the labelled half. entropy: mean over all voxels, as a share of log K."""
        prediction = self.network(batch.image)
        known, _ = prediction.split(batch.labeled)
        return {
            "seg": supervised(known, batch.label, self.config.cross_entropy),
            "entropy": mean_entropy(prediction.logits),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """The entropy follows the Gaussian ramp."""
        return {"seg": 1.0, "entropy": self.config.weight * gaussian_ramp(progress.fraction)}
