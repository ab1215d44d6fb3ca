"""Self-training: a fresh student learns from labels and from an ensemble's pseudo-labels.

Noisy Student (Xie et al., CVPR 2020), in 3D; the labels: inference/pseudo_labels.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simcvd.losses.segmentation import partial_segmentation, supervised
from simcvd.methods.base import Method, NetworkFactory
from simcvd.methods.trust import Trust, views
from simcvd.ranges import Settings, Share, Weight
from simcvd.types import Batch, Progress, SimcvdError, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of self-training."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in both terms; the rest is Dice."""
    weight: Weight = 1.0
    """Weight of the pseudo-labels."""
    threshold: Share = 0.8
    """Mean probability of the ensemble from which a voxel is labelled."""


class SelfTraining(Method):
    """The pseudo-labels are made once, before the first step, and do not change."""

    title = "Self-training"
    steady = True
    cost = 1.0
    strong_views = True
    pseudo_labels = True
    bases = 3  # the ensemble

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build()
        self.trust = Trust(task.classes, config.threshold)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """seg: L_seg on the labelled patches. pseudo: L_seg where there is a pseudo-label."""
        if batch.target is None:
            raise SimcvdError(
                "self_training learns from pseudo-labels and the batch has none; name the trained "
                "models that are to label the unlabelled scans"
            )
        share, labeled = self.config.cross_entropy, batch.labeled
        self.trust.record(batch.target)
        _, strong = views(batch)
        known, unknown = self.network(torch.cat([batch.image[:labeled], strong])).split(labeled)
        return {
            "seg": supervised(known, batch.label, share),
            "pseudo": partial_segmentation(unknown.logits, batch.target, share),
        }

    def weights(self, progress: Progress) -> dict[str, float]:
        """Constant: the labels are as good at the start as at the end."""
        return {"seg": 1.0, "pseudo": self.config.weight}

    def logged(self) -> dict[str, float | Tensor]:
        """trusted: share of voxels with a pseudo-label. trusted_foreground: foreground of these."""
        return self.trust.logged()

    def notes(self) -> list[str]:
        """Classes that are missing from the pseudo-labels."""
        return self.trust.notes()
