"""Supervised V-Net: the control that every method is held against (Tables I and II)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from simcvd.losses.segmentation import supervised
from simcvd.methods.base import Method, NetworkFactory
from simcvd.ranges import Settings, Share
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of the supervised method."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg; the rest is Dice."""


class Supervised(Method):
    """Labelled scans only; the whole batch is drawn from them."""

    title = "Supervised V-Net"
    steady = True
    cost = 1.0
    uses_unlabeled = False

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg of Eq. (1)."""
        known = self.network(batch.image[: batch.labeled])
        return {"seg": supervised(known, batch.label, self.config.cross_entropy)}

    def weights(self, progress: Progress) -> dict[str, float]:
        """L_seg counts fully throughout."""
        return {"seg": 1.0}
