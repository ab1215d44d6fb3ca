"""DTC: dual-task consistency (Luo et al., AAAI 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from simcvd.losses.dual_task import dual_task_consistency
from simcvd.losses.segmentation import distance_regression, supervised
from simcvd.methods.base import Method, NetworkFactory
from simcvd.ranges import Positive, Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of DTC."""

    cross_entropy: Share = 0.0
    """Share of cross-entropy in L_seg; by default that is Dice alone."""
    distance: Weight = 0.3
    """Weight of the distance maps on labelled patches."""
    weight: Weight = 1.0
    """Weight of the consistency after the ramp."""
    steepness: Positive = 1500.0
    """Steepness of the step from distance to probability."""


class DualTaskConsistency(Method):
    """The class head and the distance head agree on all patches, labelled or not."""

    title = "DTC"
    steady = True
    cost = 1.0

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build(distance=True)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg. sdm: squared error of the maps. con: the two heads against each other."""
        labeled, config = batch.labeled, self.config
        prediction = self.network(batch.image)
        maps = prediction.distance
        return {
            "seg": supervised(prediction.split(labeled)[0], batch.label, config.cross_entropy),
            "sdm": distance_regression(maps[:labeled], batch.distance),
            "con": dual_task_consistency(prediction.probabilities, maps, config.steepness),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """The consistency follows the Gaussian ramp."""
        ramp = gaussian_ramp(progress.fraction)
        return {"seg": 1.0, "sdm": self.config.distance, "con": self.config.weight * ramp}
