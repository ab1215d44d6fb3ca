"""CutMix pseudo-labels: French et al., BMVC 2020, in 3D, with UniMatch's weak and strong views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simcvd.losses.segmentation import partial_segmentation, supervised
from simcvd.methods.base import Average, Method, NetworkFactory, frozen_copy
from simcvd.methods.trust import Rule, Trust, views
from simcvd.ranges import Positive, Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.transforms.mixing import draw_box, exchange
from simcvd.types import Batch, Progress, Task

SIDES = (1 / 2, 4 / 5)  # of the exchanged box, as a share of the patch's


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of CutMix."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg and in the term of the pseudo-labels; the rest is Dice."""
    weight: Weight = 1.0
    """Weight of the pseudo-labels after the ramp."""
    ramp: Positive = 0.05
    """Share of the run over which that weight rises."""
    ema: Share = 0.99
    """Decay of the teacher, an average of the student's weights."""
    threshold: Share = 0.8
    """Probability from which the teacher is believed."""
    trust: Rule = "class"
    """Whether the threshold is the same for all classes ("fixed"), adapted by "class", or by class
    and only where the teacher's answers to the plain and the jittered patch agree ("agreement");
    see methods/trust.py."""


class CutMix(Method):
    """The student learns, on jittered patches with a box exchanged, what its average is sure of."""

    title = "CutMix"
    steady = True
    cost = 1.2
    least_unlabeled = 2  # one would be mixed with itself
    strong_views = True

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()
        self.teacher = frozen_copy(self.network)
        self.trust = Trust(task.classes, config.threshold, config.trust)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg on the labelled patches. pseudo: L_seg where the teacher is believed."""
        share, labeled = self.config.cross_entropy, batch.labeled
        plain, strong = views(batch)
        target = self._target(plain, strong)
        x, y, z = plain.shape[2:]
        box = draw_box((1,), (x, y, z), SIDES, plain.device)
        mixed = exchange(strong, box.unsqueeze(1))
        known, unknown = self.network(torch.cat([batch.image[:labeled], mixed])).split(labeled)
        return {
            "seg": supervised(known, batch.label, share),
            "pseudo": partial_segmentation(unknown.logits, exchange(target, box), share),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """The pseudo-labels count fully from ``ramp`` on."""
        ramp = gaussian_ramp(progress.fraction, self.config.ramp)
        return {"seg": 1.0, "pseudo": self.config.weight * ramp}

    def averages(self) -> list[Average]:
        """The teacher follows the student, its running statistics too."""
        return [Average(self.teacher, self.network, self.config.ema, statistics=True)]

    def logged(self) -> dict[str, float | Tensor]:
        """trusted: share of voxels that is believed. trusted_foreground: foreground among these."""
        return self.trust.logged()

    def notes(self) -> list[str]:
        """Classes that are missing from the pseudo-labels."""
        return self.trust.notes()

    @torch.no_grad()
    def _target(self, plain: Tensor, strong: Tensor) -> Tensor:
        teacher = self.teacher.eval()
        second = teacher(strong).probabilities if self.config.trust == "agreement" else None
        target: Tensor = self.trust(teacher(plain).probabilities, second)
        return target
