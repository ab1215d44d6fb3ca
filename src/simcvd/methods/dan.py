"""Deep adversarial network (Zhang et al., MICCAI 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simcvd.losses.adversarial import discrimination, fooling
from simcvd.losses.segmentation import supervised
from simcvd.methods.base import Method, NetworkFactory, NewOptimizer, trainable
from simcvd.networks.critic import Critic, critic_optimizer
from simcvd.networks.frozen import evaluating, frozen_call
from simcvd.ranges import Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of DAN."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg; the rest is Dice."""
    weight: Weight = 0.1
    """Weight of the term that fools the critic, after the ramp."""


class DeepAdversarialNetwork(Method):
    """A critic tells labelled from unlabelled by the probability map; the network fools it."""

    title = "DAN"
    steady = True
    cost = 1.5
    revision = 2  # as published; 1 was ours
    leaves_unused = True  # the critic in one step, the network in the other

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()
        self.critic = Critic(task.classes + task.channels, task.patch)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg. fool: unlabelled maps pass for labelled, the critic in evaluation mode."""
        known, unknown = self.network(batch.image).split(batch.labeled)
        with evaluating(self.critic):
            verdict = frozen_call(self.critic, unknown.probabilities, batch.image[batch.labeled :])
        return {
            "seg": supervised(known, batch.label, self.config.cross_entropy),
            "fool": fooling(verdict),
        }

    def later(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """critic: the truth, from the maps that the network makes after its step."""
        with torch.no_grad(), evaluating(self.network):
            maps = self.network(batch.image).probabilities
        return {"critic": discrimination(self.critic(maps, batch.image), batch.labeled)}

    def weights(self, progress: Progress) -> dict[str, float]:
        """The fooling term follows the Gaussian ramp; the critic learns fully throughout."""
        ramp = gaussian_ramp(progress.fraction)
        return {"seg": 1.0, "fool": self.config.weight * ramp, "critic": 1.0}

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Network and critic, each with an optimiser of its own."""
        return {"network": trainable(self.network), "critic": trainable(self.critic)}

    def optimizers(self) -> dict[str, NewOptimizer]:
        """The critic's, as Zhang et al. have it."""
        return {"critic": critic_optimizer}
