"""Cross pseudo supervision (Chen et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from simcvd.losses.segmentation import cross_entropy, supervised
from simcvd.methods.base import Method, NetworkFactory
from simcvd.ranges import Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.types import Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of CPS."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg; the rest is Dice."""
    weight: Weight = 0.1
    """Weight of the cross supervision after the ramp."""


class CrossPseudoSupervision(Method):
    """Two networks that begin apart teach each other; the first is tested.

    One starts from He's (Kaiming) normal weights, the other from Glorot's (Xavier); under a recipe
    with a base, from two bases.
    """

    title = "CPS"
    steady = True
    cost = 2.0
    bases = 2
    revision = 2  # as published; 1 was ours

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network, self.second = build(), build()
        _start(self.network, nn.init.kaiming_normal_)
        _start(self.second, nn.init.xavier_normal_)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg, seg_second: L_seg of each network. cross: each against the other's hard labels."""
        share, labeled = self.config.cross_entropy, batch.labeled
        first, u_first = self.network(batch.image).split(labeled)
        second, u_second = self.second(batch.image).split(labeled)
        return {
            "seg": supervised(first, batch.label, share),
            "seg_second": supervised(second, batch.label, share),
            "cross": cross_entropy(u_first.logits, u_second.logits.argmax(1))
            + cross_entropy(u_second.logits, u_first.logits.argmax(1)),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """Both networks learn the labels fully; the cross supervision follows the ramp."""
        ramp = gaussian_ramp(progress.fraction)
        return {"seg": 1.0, "seg_second": 1.0, "cross": self.config.weight * ramp}


def _start(network: nn.Module, fill: Callable[[Tensor], Tensor]) -> None:
    """Fresh weights for the convolutions; those of up-sampling and all offsets stay torch's."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            fill(module.weight)
