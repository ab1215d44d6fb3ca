"""SASSNet: shape-aware segmentation (Li et al., MICCAI 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simcvd.losses.adversarial import discrimination, fooling
from simcvd.losses.segmentation import distance_regression, supervised
from simcvd.methods.base import Method, NetworkFactory, NewOptimizer, trainable
from simcvd.networks.critic import Critic, critic_optimizer
from simcvd.networks.frozen import evaluating, frozen_call
from simcvd.ranges import Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of SASSNet."""

    cross_entropy: Share = 0.0
    """Share of cross-entropy in L_seg; by default that is Dice alone."""
    distance: Weight = 0.3
    """Weight of the distance maps on labelled patches."""
    weight: Weight = 0.015
    """Weight of the term that fools the critic, after the ramp: 0.015 for 8 labelled scans, 0.01
    for 16."""


class SASSNet(Method):
    """A critic tells labelled from unlabelled by the signed distance map; the network fools it."""

    title = "SASSNet"
    steady = True
    cost = 1.5
    revision = 2  # as published; 1 was ours
    leaves_unused = True  # the critic in one step, the network in the other

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build(distance=True)
        self.critic = Critic(task.classes - 1 + task.channels, task.patch)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg. sdm: squared error of the maps. fool: unlabelled maps pass for labelled."""
        known, unknown = self.network(batch.image).split(batch.labeled)
        with evaluating(self.critic):
            verdict = frozen_call(self.critic, unknown.distance, batch.image[batch.labeled :])
        return {
            "seg": supervised(known, batch.label, self.config.cross_entropy),
            "sdm": distance_regression(known.distance, batch.distance),
            "fool": fooling(verdict),
        }

    def later(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """critic: the truth, from the maps that the network makes after its step."""
        with torch.no_grad(), evaluating(self.network):
            maps = self.network(batch.image).distance
        return {"critic": discrimination(self.critic(maps, batch.image), batch.labeled)}

    def weights(self, progress: Progress) -> dict[str, float]:
        """The fooling term follows the Gaussian ramp; the critic learns fully throughout."""
        ramp = gaussian_ramp(progress.fraction)
        return {
            "seg": 1.0,
            "sdm": self.config.distance,
            "fool": self.config.weight * ramp,
            "critic": 1.0,
        }

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Network and critic, each with an optimiser of its own."""
        return {"network": trainable(self.network), "critic": trainable(self.critic)}

    def optimizers(self) -> dict[str, NewOptimizer]:
        """The critic's, as Zhang et al. have it."""
        return {"critic": critic_optimizer}
