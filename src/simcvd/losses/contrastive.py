"""Contrastive terms, Eqs. (2) to (4)."""

from __future__ import annotations

from math import exp, log, log1p
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as nnf

from simcvd.losses.gather import gather_rows, processes
from simcvd.losses.precision import float32

Vectors = Literal["unit", "scaled"]


@float32
def info_nce(
    h: Tensor, others: Tensor, tau: float, *, vectors: Vectors = "unit", drawn: int = 0
) -> Tensor:
    """Eq. (2): -log exp(h_j . o_j / tau) / sum_l exp(h_j . o_l / tau) for each row, ``[N]``.

    Args:
        h: ``[N, D_h]``.
        others: ``[M, D_h]``. Its last N rows are the positives of ``h``, in order; l runs over all
            its rows and those of every other process.
        tau: temperature.
        vectors: see `bounded`.
        drawn: negatives of each row, drawn without repetition, so that B of the paper is one more;
            0 takes all.

    Examples:
        Each of two rows agrees with its positive (cosine 1) and not with the other (0), so that it
        loses -log(e / (e + 1)):

        >>> info_nce(torch.eye(2), torch.eye(2), tau=1.0)
        tensor([0.3133, 0.3133])
    """
    everywhere, first = gather_rows(others)
    similarity = bounded(h, vectors) @ bounded(everywhere, vectors).T / tau
    positives = torch.arange(len(h), device=h.device) + (first + len(others) - len(h))
    if drawn:
        order = torch.rand_like(similarity).scatter(1, positives[:, None], 2.0)  # positives first
        kept = order.topk(min(drawn + 1, len(everywhere))).indices
        similarity, positives = similarity.gather(1, kept), torch.zeros_like(positives)
    return nnf.cross_entropy(similarity, positives, reduction="none")


def boundary_contrast(
    h_t: Tensor,
    h_s: Tensor,
    tau: float,
    *,
    labeled: int = 0,
    vectors: Vectors = "unit",
    drawn: int = 0,
    pulled: Tensor | None = None,
) -> Tensor:
    """Eq. (3), L_contrast: Eq. (2) from teacher to student and back, mean over the slices.

    Args:
        h_t, h_s: ``[N, D_h]`` head outputs of the same slices.
        tau, vectors, drawn: those of Eq. (2), which is where half precision ends.
        labeled: the first rows, so many, serve as negatives only.
        pulled: ``h_s`` by another way, down which only the gradient of `attraction` flows.

    Examples:
        What two rows lose by Eq. (2), once from each side:

        >>> boundary_contrast(torch.eye(2), torch.eye(2), tau=1.0)
        tensor(0.6265)
    """
    to_student = info_nce(h_t[labeled:], h_s, tau, vectors=vectors, drawn=drawn)
    to_teacher = info_nce(h_s[labeled:], h_t, tau, vectors=vectors, drawn=drawn)
    loss = (to_student + to_teacher).mean()
    if pulled is None:
        return loss
    pull = attraction(h_t[labeled:], pulled[labeled:], tau, vectors=vectors)
    return loss + (pull - pull.detach())


@float32
def attraction(h_t: Tensor, h_s: Tensor, tau: float, *, vectors: Vectors = "unit") -> Tensor:
    """What Eq. (3) gains by its positive pairs alone: -2 h_j^t . h_j^s / tau, mean over j.

    Examples:
        >>> attraction(torch.eye(2), torch.eye(2), tau=0.5)  # cosines of 1, so -2 / 0.5
        tensor(-4.)
    """
    return (bounded(h_t, vectors) * bounded(h_s, vectors)).sum(1).mean() * (-2 / tau)


def bounded(h: Tensor, vectors: Vectors) -> Tensor:
    """Rows ``[N, D_h]`` fit for Eq. (2): on bare dot products long runs went to NaN.

    "unit": of length 1, so that products are cosines. "scaled": every product is divided by the
    root of D_h.

    Examples:
        >>> bounded(torch.tensor([[3.0, 4.0]]), "unit")
        tensor([[0.6000, 0.8000]])
    """
    return nnf.normalize(h, dim=1) if vectors == "unit" else h / h.shape[1] ** 0.25


def contrast_levels(
    slices: int, tau: float, *, labeled: int = 0, vectors: Vectors = "unit", drawn: int = 0
) -> dict[str, float]:
    """What Eq. (3) is held against: ``contrast_chance`` and, for unit vectors, ``contrast_floor``.

    Chance is 2 log of the rows in a denominator: nothing tells them apart.

    For the floor write a row's loss as log(1 + sum_l exp(d_l / tau)) over its negatives, with d_l =
    cos_l - cos_positive. It is convex, so that the mean is least where all d_l are alike. The N
    unlabelled slices, negatives of each other, form at best a simplex, where d is -N / (N - 1); a
    labelled slice may lie opposite, d = -2. Of drawn negatives it is the floor of the expectation.

    Args:
        slices: of each process, among them the labelled ones.
        labeled: how many of them are negatives only.
        tau, vectors, drawn: those of Eq. (2).

    Examples:
        Two slices, one negative each: chance is 2 log 2. At best they lie opposite each other,
        which leaves 2 log(1 + e**-2).

        >>> {name: round(level, 4) for name, level in contrast_levels(2, tau=1.0).items()}
        {'contrast_chance': 1.3863, 'contrast_floor': 0.2539}
    """
    slices, labeled = slices * processes(), labeled * processes()
    own = slices - labeled
    negatives = min(drawn, slices - 1) if drawn else slices - 1
    levels = {"contrast_chance": 2 * log(1 + negatives)}
    if vectors == "unit":
        apart = (own + 2 * labeled) / (slices - 1) if own > 1 else 2.0  # mean of -d_l
        levels["contrast_floor"] = 2 * log1p(negatives * exp(-apart / tau))
    return levels


@float32
def pairwise_distillation(v_s: Tensor, v_t: Tensor) -> Tensor:
    """Eq. (4), L_pd: each voxel of the student's map must find itself in the teacher's.

    ``v_s``, ``v_t`` ``[B, E, X', Y', Z']``, similarity by cosine, no temperature. Mean over
    voxels where the paper writes a sum: the sum is about a thousand times the other terms.

    Examples:
        Two voxels whose vectors are perpendicular, the same for student and teacher:
        -log(e / (e + 1)).

        >>> vectors = torch.eye(2).view(1, 2, 2, 1, 1)
        >>> pairwise_distillation(vectors, vectors)
        tensor(0.3133)
    """
    v_s, v_t = (nnf.normalize(v.flatten(2), dim=1) for v in (v_s, v_t))
    similarity = v_s.transpose(1, 2) @ v_t  # [B, J, J], row j: voxel j of the student
    positives = torch.arange(similarity.shape[1], device=v_s.device).expand(len(v_s), -1)
    return nnf.cross_entropy(similarity.flatten(0, 1), positives.flatten())
