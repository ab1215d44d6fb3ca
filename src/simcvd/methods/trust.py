"""Which of a teacher's pseudo-labels are believed, and a record of them.

Shared by the methods that learn from pseudo-labels; docs/methods/cutmix.md has the reasons.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from simcvd.types import UNKNOWN, Batch

Rule = Literal["fixed", "class", "agreement"]

MEMORY = 0.98  # decay of the running means, so that they look back some fifty steps
LEAST = 0.5  # no class is believed at less than even odds, unless the threshold itself is lower
PATIENCE = 100  # steps without pseudo-labels of a class after which this is said


def views(batch: Batch) -> tuple[Tensor, Tensor]:
    """The unlabelled patches as the teacher sees them and with jittered intensities.

    ``[U, C, X, Y, Z]`` each; without jittered ones, the plain ones twice.
    """
    plain = batch.image[batch.labeled :]
    return plain, plain if batch.strong is None else batch.strong


class Trust(nn.Module):
    """Turns a teacher's probabilities into pseudo-labels; has no parameters, only a memory.

    Args:
        classes: K.
        threshold: the probability from which a voxel's most probable class is believed; 0
            believes everything.
        rule: "fixed" holds all classes to ``threshold``. "class" holds a class that the teacher
            is less sure of to a proportionally lower one: ``threshold`` times the mean
            probability it gives that class, where it is the most probable, over that of its
            surest class (FreeMatch, Wang et al., ICLR 2023, with means over voxels of a class in
            place of means over all, which in segmentation measure the class's size). "agreement"
            asks in addition that the teacher gives a second view the same class.
    """

    sureness: Tensor
    silent: Tensor
    believed: Tensor

    def __init__(self, classes: int, threshold: float, rule: Rule = "fixed") -> None:
        super().__init__()
        self.threshold, self.rule = threshold, rule
        self.register_buffer("sureness", torch.ones(classes))
        self.register_buffer("silent", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("believed", torch.zeros(classes), persistent=False)

    @torch.no_grad()
    def forward(self, probabilities: Tensor, second: Tensor | None = None) -> Tensor:
        """``[U, K, X, Y, Z]`` to labels ``[U, X, Y, Z]`` int64, UNKNOWN where not believed.

        ``second``: probabilities for another view, for the rule "agreement".
        """
        sure, label = probabilities.max(1)
        if self.rule != "fixed":
            self._watch(sure, label)
        believed = sure >= self.thresholds()[label]
        if second is not None:
            believed = believed & (second.argmax(1) == label)
        target = torch.where(believed, label, UNKNOWN)
        self.record(target)
        return target

    def thresholds(self) -> Tensor:
        """The probability that each class is held to now, ``[K]``."""
        held = self.threshold * self.sureness / self.sureness.max()
        return held.clamp_min(min(self.threshold, LEAST))

    @torch.no_grad()
    def record(self, target: Tensor) -> None:
        """Remember what was believed, for `logged` and `notes`."""
        classes = range(len(self.sureness))
        self.believed.copy_(torch.stack([(target == k).float().mean() for k in classes]))
        self.silent.add_(1).masked_fill_(self.believed > 0, 0)

    def logged(self) -> dict[str, float | Tensor]:
        """The share of voxels that is believed, and the foreground's share of those."""
        trusted = self.believed.sum()
        foreground = self.believed[1:].sum() / trusted.clamp_min(1e-12)
        return {"trusted": trusted, "trusted_foreground": foreground}

    def notes(self) -> list[str]:
        """What has been missing from the pseudo-labels for `PATIENCE` steps; see Method.notes."""
        silent = [k for k, steps in enumerate(self.silent.tolist()) if steps >= PATIENCE]
        foreground = [k for k in silent if k]
        if not foreground:
            return []
        if len(silent) == len(self.silent):
            missing, taught = "pseudo-label at all", "nothing"
        elif len(foreground) == len(self.silent) - 1:
            missing, taught = "foreground pseudo-label", "nothing but background"
        else:
            classes = " or ".join(map(str, foreground))
            missing, taught = f"pseudo-label of class {classes}", "that it is absent"
        return [
            f"for {PATIENCE} steps no voxel of the unlabelled patches has been given a {missing}: "
            f"these scans teach {taught}. Start from models that find what is missing, or lower "
            "method.threshold"
        ]

    def _watch(self, sure: Tensor, label: Tensor) -> None:
        """Follow the mean probability of the most probable class, by class."""
        masks = [label == k for k in range(len(self.sureness))]
        counts = torch.stack([mask.sum() for mask in masks])
        sums = torch.stack([(sure * mask).sum() for mask in masks])
        now = torch.where(counts > 0, sums / counts.clamp_min(1), self.sureness)
        self.sureness.lerp_(now, 1 - MEMORY)
