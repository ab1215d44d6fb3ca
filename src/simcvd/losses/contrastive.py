"""Contrastive terms, Eqs. (2) to (4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as nnf

from simcvd.losses.precision import float32


@float32
def info_nce(h: Tensor, others: Tensor, tau: float, positives: Tensor | None = None) -> Tensor:
    """Eq. (2): -log exp(h_j . o_j / tau) / sum_l exp(h_j . o_l / tau) for each row, ``[N]``.

    ``h`` ``[N, D_h]``; ``others`` ``[M, D_h]`` holds each row's positive among the negatives,
    at index ``positives`` ``[N]`` (by default the row's own index). Rows are scaled to unit
    length: on raw dot products long runs went to NaN.
    """
    similarity = nnf.normalize(h, dim=1) @ nnf.normalize(others, dim=1).T / tau
    if positives is None:
        positives = torch.arange(len(h), device=h.device)
    return nnf.cross_entropy(similarity, positives, reduction="none")


@float32
def boundary_contrast(
    h_t: Tensor,
    h_s: Tensor,
    tau: float,
    all_t: Tensor | None = None,
    all_s: Tensor | None = None,
    first: int = 0,
) -> Tensor:
    """Eq. (3), L_contrast: Eq. (2) from teacher to student and back, mean over the slices.

    Args:
        h_t, h_s: ``[N, D_h]`` head outputs of the same N slices.
        tau: temperature.
        all_t, all_s: ``[M, D_h]`` the slices of every process, these N at index ``first``.
    """
    all_t, all_s = (h_t if all_t is None else all_t), (h_s if all_s is None else all_s)
    positives = torch.arange(first, first + len(h_t), device=h_t.device)
    to_student = info_nce(h_t, all_s, tau, positives)
    to_teacher = info_nce(h_s, all_t, tau, positives)
    return (to_student + to_teacher).mean()


@float32
def pairwise_distillation(v_s: Tensor, v_t: Tensor) -> Tensor:
    """Eq. (4), L_pd: each voxel of the student's map must find itself in the teacher's.

    ``v_s``, ``v_t`` ``[B, E, X', Y', Z']``, similarity by cosine, no temperature. Mean over
    voxels where the paper writes a sum: the sum is about a thousand times the other terms.
    """
    v_s, v_t = (nnf.normalize(v.flatten(2), dim=1) for v in (v_s, v_t))
    similarity = v_s.transpose(1, 2) @ v_t  # [B, J, J], row j: voxel j of the student
    positives = torch.arange(similarity.shape[1], device=v_s.device).expand(len(v_s), -1)
    return nnf.cross_entropy(similarity.flatten(0, 1), positives.flatten())
