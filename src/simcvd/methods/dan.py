"""Deep adversarial network (Zhang et al., MICCAI 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from simcvd.losses.adversarial import discrimination, fooling
from simcvd.losses.segmentation import segmentation
from simcvd.methods.base import Method, NetworkFactory, trainable
from simcvd.networks.critic import Critic, frozen_call
from simcvd.ranges import Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """cross_entropy: share in L_seg. weight: of the fooling term, ramped."""

    cross_entropy: Share = 0.5
    weight: Weight = 0.1


class DeepAdversarialNetwork(Method):
    """A critic tells labelled from unlabelled by the probability map; the network fools it."""

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()
        self.critic = Critic(task.classes + task.channels, task.patch)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg. fool: unlabelled maps pass for labelled. critic: what the critic learns."""
        labeled, image = batch.labeled, batch.image
        prediction = self.network(image)
        maps = prediction.probabilities
        return {
            "seg": segmentation(
                prediction.logits[:labeled], batch.label, self.config.cross_entropy
            ),
            "fool": fooling(frozen_call(self.critic, maps[labeled:], image[labeled:])),
            "critic": discrimination(self.critic(maps.detach(), image), labeled),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """The fooling term follows the Gaussian ramp; the critic learns fully throughout."""
        ramp = gaussian_ramp(progress.fraction)
        return {"seg": 1.0, "fool": self.config.weight * ramp, "critic": 1.0}

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Network and critic, each with an optimiser of its own."""
        return {"network": trainable(self.network), "critic": trainable(self.critic)}
