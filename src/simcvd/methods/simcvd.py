"""SimCVD (You et al., IEEE TMI 2022): the method this package is named after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from simcvd.losses.consistency import consistency
from simcvd.losses.contrastive import boundary_contrast, pairwise_distillation
from simcvd.losses.gather import gather_rows
from simcvd.losses.segmentation import distance_regression, segmentation
from simcvd.methods.base import Average, Method, NetworkFactory, frozen_copy
from simcvd.networks.projection import Pooling, ProjectionHead
from simcvd.ranges import BelowOne, Count, Positive, Settings, Share, Weight
from simcvd.schedules import gaussian_ramp
from simcvd.transforms.intensity import draw_noise
from simcvd.transforms.painting import View, change_view
from simcvd.types import Batch, Prediction, Progress, Task


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """The paper's values (Section IV-B); docs/methods/simcvd.md lists what it leaves open.

    alpha, lambda_, beta, gamma: weights of Eqs. (1) and (6); 0 leaves the term out.
    tau: temperature of Eq. (2). dropout, pool, pooling, hidden, out: the projection head.
    boundary: the map added to the input, "distance", or "probability" for "w/o SDM".
    consistency: what Eq. (5) compares, "both" maps or "probabilities".
    ramp: "all" ramps lambda, beta and gamma, "gamma" only gamma.
    head_pace: "full" trains the head at full weight while its gradient reaches the student
        at the ramped weight; "ramped" ramps both.
    views: a change of the unlabelled inputs beside noise (Table V), drawn for each network.
    """

    cross_entropy: Share = 0.5
    alpha: Weight = 0.1
    lambda_: Weight = 0.5
    beta: Weight = 0.1
    gamma: Weight = 0.1
    tau: Positive = 0.5
    ema: Share = 0.999
    dropout: BelowOne = 0.1
    pool: Count = 128
    pooling: Pooling = "average"
    hidden: Count = 512
    out: Count = 128
    boundary: Literal["distance", "probability"] = "distance"
    consistency: Literal["both", "probabilities"] = "both"
    ramp: Literal["all", "gamma"] = "all"
    head_pace: Literal["ramped", "full"] = "ramped"
    views: View = "none"


class SimCVD(Method):
    """Boundary-aware contrast and pair-wise distillation between a student and its average."""

    def __init__(self, config: Config, task: Task, build: NetworkFactory) -> None:
        super().__init__()
        self.config = config
        self.network = build(distance=config.boundary == "distance")
        self.head = ProjectionHead(
            pool=config.pool,
            dropout=config.dropout,
            pooling=config.pooling,
            hidden=config.hidden,
            out=config.out,
        )
        self.teacher = frozen_copy(self.network)
        self.teacher_head = frozen_copy(self.head)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The terms of Eqs. (1) to (5); those with no weight are not computed."""
        config, labeled, unlabeled = self.config, batch.labeled, batch.image[batch.labeled :]
        both = self.network(torch.cat([batch.image[:labeled], self._view(unlabeled)]))
        known, student = both.split(labeled)
        with torch.no_grad():
            teacher = self.teacher(self._view(unlabeled))

        terms = {"seg": segmentation(known.logits, batch.label, config.cross_entropy)}
        if config.alpha and known.distance is not None:
            terms["sdm"] = distance_regression(known.distance, batch.distance)
        if config.lambda_:
            terms["contrast"] = self._contrast(unlabeled, student, teacher, progress)
        if config.beta:
            terms["pd"] = pairwise_distillation(student.features, teacher.features)
        if config.gamma:
            terms["con"] = self._consistency(student, teacher)
        return terms

    def weights(self, progress: Progress) -> dict[str, float]:
        """Eq. (6); the unsupervised weights follow the Gaussian ramp Psi."""
        config, psi = self.config, gaussian_ramp(progress.fraction)
        ramp = self._ramp(progress)
        weights = {
            "seg": 1.0,
            "sdm": config.alpha if config.boundary == "distance" else 0.0,
            "contrast": config.lambda_ * (ramp if config.head_pace == "ramped" else 1.0),
            "pd": config.beta * ramp,
            "con": config.gamma * psi,
        }
        return {name: weight for name, weight in weights.items() if weight}

    def averages(self) -> list[Average]:
        """Teacher and teacher's head follow the student's."""
        pairs = [(self.teacher, self.network), (self.teacher_head, self.head)]
        return [Average(average, source, self.config.ema) for average, source in pairs]

    def _ramp(self, progress: Progress) -> float:
        """Psi for lambda and beta, where these are ramped."""
        return gaussian_ramp(progress.fraction) if self.config.ramp == "all" else 1.0

    def _view(self, x: Tensor) -> Tensor:
        return change_view(x, self.config.views) + draw_noise(x)

    def _contrast(
        self, x: Tensor, student: Prediction, teacher: Prediction, progress: Progress
    ) -> Tensor:
        """Eq. (3), mean over the foreground classes; the head reads its 8M weights once for all."""
        x = x.mean(1)
        pace = self._ramp(progress) if self.config.head_pace == "full" else 1.0
        maps_s = [x + _scale_gradient(q.float(), pace) for q in self._boundary(student)]
        maps_t = [x + q.float() for q in self._boundary(teacher)]
        rows_s = self.head(torch.cat(maps_s)).chunk(len(maps_s))
        with torch.no_grad():
            rows_t = self.teacher_head(torch.cat(maps_t)).chunk(len(maps_t))
        losses = []
        for h_s, h_t in zip(rows_s, rows_t, strict=True):
            (all_s, first), (all_t, _) = gather_rows(h_s), gather_rows(h_t)
            losses.append(boundary_contrast(h_t, h_s, self.config.tau, all_t, all_s, first))
        return torch.stack(losses).mean()

    def _boundary(self, prediction: Prediction) -> tuple[Tensor, ...]:
        """Per foreground class, the map ``[U, X, Y, Z]`` that makes the input boundary-aware."""
        if self.config.boundary == "distance":
            assert prediction.distance is not None
            return prediction.distance.unbind(1)
        return prediction.probabilities[:, 1:].unbind(1)

    def _consistency(self, student: Prediction, teacher: Prediction) -> Tensor:
        """Eq. (5) on the probabilities and, if asked for, on the distance maps."""
        loss = consistency(student.probabilities, teacher.probabilities)
        if self.config.consistency == "both" and student.distance is not None:
            assert teacher.distance is not None
            loss = loss + consistency(student.distance, teacher.distance)
        return loss


def _scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``x`` itself, with its gradient multiplied by ``factor``."""
    return x if factor == 1.0 else x * factor + x.detach() * (1.0 - factor)
