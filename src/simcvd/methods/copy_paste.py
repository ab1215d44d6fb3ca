"""BCP: bidirectional copy-paste (Bai et al., CVPR 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simcvd.losses.segmentation import partial_segmentation, supervised
from simcvd.methods.base import Average, Method, NetworkFactory, frozen_copy
from simcvd.methods.trust import Trust, views
from simcvd.ranges import Settings, Share, Weight
from simcvd.transforms.mixing import draw_box, paste
from simcvd.types import UNKNOWN, Batch, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of Copy-paste."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in both terms; the rest is Dice."""
    weight: Weight = 0.5
    """Weight of the voxels that the teacher labels (the paper's alpha)."""
    side: Share = 2 / 3
    """Side of the pasted box as a share of the patch's (the paper's beta)."""
    ema: Share = 0.99
    """Decay of the teacher, an average of the student's weights."""
    threshold: Share = 0.0
    """Probability from which the teacher is believed; 0, as published, always believes it."""


class CopyPaste(Method):
    """The student sees labelled patches in unlabelled ones and the other way round."""

    title = "Copy-paste"
    steady = True
    cost = 1.2
    strong_views = True

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()
        self.teacher = frozen_copy(self.network)
        self.trust = Trust(task.classes, config.threshold)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg over the voxels of labelled patches. pseudo: over those of unlabelled ones.

        Labelled and unlabelled patches are paired in turn, beginning again with the fewer.
        """
        config, (plain, strong) = self.config, views(batch)
        with torch.no_grad():
            target = self.trust(self.teacher.eval()(plain).probabilities)
        pairs = torch.arange(max(batch.labeled, len(plain)), device=plain.device)
        ours, theirs = pairs.repeat(2) % batch.labeled, pairs.repeat(2) % len(plain)
        x, y, z = plain.shape[2:]
        box = draw_box((len(pairs),), (x, y, z), (config.side, config.side), plain.device)
        known = torch.cat([box, ~box])  # voxels of labelled patches, in one mix and in the other

        mixed = paste(strong[theirs], batch.image[ours], known.unsqueeze(1))
        prediction = self.network(mixed)
        label = batch.label[ours].where(known, UNKNOWN)
        guess = target[theirs].where(~known, UNKNOWN)
        return {
            "seg": supervised(prediction, label, config.cross_entropy, loss=partial_segmentation),
            "pseudo": partial_segmentation(prediction.logits, guess, config.cross_entropy),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """Constant, as published."""
        return {"seg": 1.0, "pseudo": self.config.weight}

    def averages(self) -> list[Average]:
        """The teacher follows the student, its running statistics too."""
        return [Average(self.teacher, self.network, self.config.ema, statistics=True)]

    def logged(self) -> dict[str, float | Tensor]:
        """trusted: share of voxels that is believed. trusted_foreground: foreground among these."""
        return self.trust.logged()

    def notes(self) -> list[str]:
        """Classes that are missing from the pseudo-labels."""
        return self.trust.notes()
