"""SimCVD (You et al., IEEE TMI 2022): the method this package is named after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from simcvd.losses.consistency import consistency
from simcvd.losses.contrastive import (
    Vectors,
    boundary_contrast,
    contrast_levels,
    pairwise_distillation,
)
from simcvd.losses.segmentation import distance_regression, supervised
from simcvd.methods.base import Average, Method, NetworkFactory, frozen_copy
from simcvd.networks.frozen import scale_gradient
from simcvd.networks.projection import Pooling, ProjectionHead
from simcvd.ranges import BelowOne, Count, Natural, Positive, Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.transforms.intensity import draw_noise
from simcvd.transforms.painting import View, change_view
from simcvd.types import Batch, IntTriple, Prediction, Progress, SimcvdError, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """The paper's values (Section IV-B); docs/methods/simcvd.md lists what it leaves open."""

    cross_entropy: Share = 0.5
    """Share of cross-entropy in L_seg; the rest is Dice."""
    dice: Literal["batch", "volume"] = "batch"
    """Dice of the "batch" as one volume, or the mean over every "volume"."""
    alpha: Weight = 0.1
    """Weight of the distance maps on labelled patches in Eq. (1); 0 leaves the term out."""
    lambda_: Weight = 0.5
    """Weight of the contrast in Eq. (6); 0 leaves the term out."""
    beta: Weight = 0.1
    """Weight of the pair-wise distillation in Eq. (6); 0 leaves the term out."""
    gamma: Weight = 0.1
    """Weight of the consistency in Eq. (6); 0 leaves the term out."""
    tau: Positive = 0.5
    """Temperature of Eq. (2)."""
    vectors: Vectors = "unit"
    """How the dot products of Eq. (2) are kept finite: of vectors of length 1 ("unit"), or divided
    by the square root of their dimension ("scaled")."""
    negatives: Literal["unlabeled", "batch"] = "unlabeled"
    """Slices of the "unlabeled" patches or of the whole "batch"."""
    drawn: Natural = 0
    """Negatives drawn for each slice, B - 1 of the paper; 0 takes all."""
    push: Literal["all", "positive"] = "all"
    """What of the contrast reaches the maps: "all", or the pull of the "positive" pair alone."""
    ema: Share = 0.999
    """Decay of the teacher, an average of the student's weights."""
    dropout: BelowOne = 0.1
    """Dropout of the projection head, which learns from the whole contrast."""
    pool: Count = 128
    """Side of the pooled slice that enters the projection head."""
    pooling: Pooling = "average"
    """How slices are pooled."""
    hidden: Count = 512
    """Width of the projection head's hidden layer."""
    out: Count = 128
    """Width of the projected vectors."""
    boundary: Literal["distance", "probability"] = "distance"
    """The map added to the input: "distance", or "probability" for "w/o SDM"."""
    pattern: Literal["plain", "dropped"] = "plain"
    """V of Eq. (4): the encoder's last map "plain", or "dropped" as the decoder reads it."""
    consistency: Literal["both", "mean", "probabilities"] = "both"
    """Eq. (5) on "both" maps added, their "mean", or the "probabilities" alone."""
    ramp: Literal["all", "gamma", "falling"] = "all"
    """What is ramped: lambda, beta and gamma ("all"), or "gamma" alone; in "falling" lambda falls
    as the other two rise."""
    head_pace: Literal["ramped", "full"] = "ramped"
    """How the projection head learns: with the ramped weight ("ramped"), or at full weight while
    its gradient reaches the student at the ramped one ("full")."""
    views: View = "none"
    """A change of the unlabelled inputs beside noise (Table V), drawn for each network."""


class SimCVD(Method):
    """Boundary-aware contrast and pair-wise distillation between a student and its average."""

    title = "SimCVD"
    steady = True
    cost = 1.4

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build(
            distance=config.boundary == "distance",
            features=config.beta > 0 and config.pattern == "plain",
        )
        self.head = ProjectionHead(
            pool=config.pool,
            dropout=config.dropout,
            pooling=config.pooling,
            hidden=config.hidden,
            out=config.out,
        )
        self.teacher = frozen_copy(self.network)
        self.teacher_head = frozen_copy(self.head)
        self.levels: dict[str, float] = {}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The terms of Eqs. (1) to (5); those with no weight are not computed."""
        config, labeled, unlabeled = self.config, batch.labeled, batch.image[batch.labeled :]
        first = 0 if config.negatives == "batch" else labeled  # of those that the teacher sees
        both = self.network(torch.cat([batch.image[:labeled], self._view(unlabeled)]))
        known, student = both.split(labeled)
        with torch.no_grad():
            taught = self.teacher(torch.cat([batch.image[first:labeled], self._view(unlabeled)]))
        teacher = taught.split(labeled - first)[1]

        per_volume = config.dice == "volume"
        share = config.cross_entropy
        terms = {"seg": supervised(known, batch.label, share, per_volume=per_volume)}
        if config.alpha and known.distance is not None:
            terms["sdm"] = distance_regression(known.distance, batch.distance)
        if config.lambda_:
            pace = self._ramp(progress) if config.head_pace == "full" else 1.0
            image, compared = batch.image[first:], both.split(first)[1]
            terms["contrast"] = self._contrast(image, compared, taught, labeled - first, pace)
        if config.beta:
            terms["pd"] = pairwise_distillation(self._pattern(student), self._pattern(teacher))
        if config.gamma:
            terms["con"] = self._consistency(student, teacher)
        return terms

    def weights(self, progress: Progress) -> dict[str, float]:
        """Eq. (6); the unsupervised weights follow the Gaussian ramp Psi."""
        config, psi = self.config, gaussian_ramp(progress.fraction)
        ramped = config.head_pace == "ramped"
        weights = {
            "seg": 1.0,
            "sdm": config.alpha if config.boundary == "distance" else 0.0,
            "contrast": config.lambda_ * (self._ramp(progress) if ramped else 1.0),
            "pd": config.beta * (1.0 if config.ramp == "gamma" else psi),
            "con": config.gamma * psi,
        }
        return {name: weight for name, weight in weights.items() if weight}

    def logged(self) -> dict[str, float | Tensor]:
        """What the contrast of the last step is at chance, and its floor for unit vectors."""
        return dict(self.levels)

    def averages(self) -> list[Average]:
        """Teacher and teacher's head follow the student's."""
        pairs = [(self.teacher, self.network), (self.teacher_head, self.head)]
        return [Average(average, source, self.config.ema) for average, source in pairs]

    @classmethod
    def planned(cls, patch: IntTriple) -> tuple[str, ...]:
        """The side of its pooled slices."""
        return (f"method.pool={_pool_of(patch)}",)

    @classmethod
    def held(cls, patch: IntTriple | None = None) -> int:
        """The first layer of its head: student, gradient, momentum, teacher and a copy."""
        return 5 * Config.hidden * (_pool_of(patch) if patch else Config.pool) ** 2

    def _ramp(self, progress: Progress) -> float:
        """What lambda is multiplied by."""
        if self.config.ramp == "gamma":
            return 1.0
        falling = self.config.ramp == "falling"
        return gaussian_ramp(1.0 - progress.fraction if falling else progress.fraction)

    def _view(self, x: Tensor) -> Tensor:
        return change_view(x, self.config.views) + draw_noise(x)

    def _contrast(
        self, x: Tensor, student: Prediction, teacher: Prediction, labeled: int, pace: float
    ) -> Tensor:
        """Eq. (3), mean over the foreground classes; the head reads its 8M weights once for all.

        The first ``labeled`` patches are negatives only. The gradient reaches the maps times
        ``pace``.
        """
        config, x, skip = self.config, x.mean(1), labeled * x.shape[-1]
        maps_s = [x + scale_gradient(q.float(), pace) for q in self._boundary(student)]
        maps_t = [x + q.float() for q in self._boundary(teacher)]
        boundary_s, boundary_t = torch.cat(maps_s), torch.cat(maps_t)
        one_pull = config.push == "positive"
        h_s, pulled = self.head.apart(boundary_s) if one_pull else (self.head(boundary_s), None)
        with torch.no_grad():
            h_t = self.teacher_head(boundary_t)
        tau, vectors, drawn, classes = config.tau, config.vectors, config.drawn, len(maps_s)
        self.levels = contrast_levels(
            len(h_t) // classes, tau, labeled=skip, vectors=vectors, drawn=drawn
        )
        pulls = (None,) * classes if pulled is None else pulled.chunk(classes)
        losses = [
            boundary_contrast(t, s, tau, labeled=skip, vectors=vectors, drawn=drawn, pulled=pull)
            for t, s, pull in zip(h_t.chunk(classes), h_s.chunk(classes), pulls, strict=True)
        ]
        return torch.stack(losses).mean()

    def _boundary(self, prediction: Prediction) -> tuple[Tensor, ...]:
        """Per foreground class, the map ``[U, X, Y, Z]`` that makes the input boundary-aware."""
        if self.config.boundary == "distance":
            assert prediction.distance is not None
            return prediction.distance.unbind(1)
        return prediction.probabilities[:, 1:].unbind(1)

    def _pattern(self, prediction: Prediction) -> Tensor:
        """V of Eq. (4), ``[U, E, X', Y', Z']``."""
        if self.config.pattern == "plain":
            assert prediction.features is not None  # asked for
            return prediction.features
        if prediction.dropped is None:
            raise SimcvdError(
                "method.pattern is 'dropped' and the network returns no Prediction.dropped; "
                "return the map that its decoder reads, or leave method.pattern at 'plain'"
            )
        return prediction.dropped

    def _consistency(self, student: Prediction, teacher: Prediction) -> Tensor:
        """Eq. (5) on the probabilities and, if asked for, on the distance maps."""
        loss = consistency(student.probabilities, teacher.probabilities)
        if self.config.consistency == "probabilities" or student.distance is None:
            return loss
        assert teacher.distance is not None
        loss = loss + consistency(student.distance, teacher.distance)
        return loss / 2 if self.config.consistency == "mean" else loss


def _pool_of(patch: IntTriple) -> int:
    """The patch's side rounded up to a power of 2; the paper has 128 for slices of 112 x 112."""
    return min(Config.pool, 1 << (max(patch[:2]) - 1).bit_length())
