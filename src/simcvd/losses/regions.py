"""Contrast between parts of volumes (Chaitanya et al., NeurIPS 2020, Eqs. 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as nnf

from simcvd.losses.precision import float32


@float32
def partition_contrast(vectors: Tensor, tau: float) -> Tensor:
    """Global term: the same partition of any view and volume attracts, other partitions repel.

    For each pair (i, j) of one partition, -log e^{s_ij} / (e^{s_ij} + sum_n e^{s_in}), where n
    goes over the vectors of all other partitions and s is the cosine over ``tau``; mean over
    the pairs. ``vectors``: ``[N, P, D]``, N views and volumes of P partitions each.
    """
    count, partitions, _ = vectors.shape
    unit = nnf.normalize(vectors.flatten(0, 1), dim=1)
    similarity = unit @ unit.T / tau
    partition = torch.arange(partitions, device=vectors.device).repeat(count)
    same = partition[:, None] == partition
    repelled = similarity.masked_fill(same, -torch.inf).logsumexp(1, keepdim=True)
    pairs = same & ~torch.eye(len(unit), dtype=torch.bool, device=vectors.device)
    return nnf.softplus(repelled - similarity)[pairs].mean()


@float32
def region_contrast(first: Tensor, second: Tensor, negatives: Tensor, tau: float) -> Tensor:
    """Local term: a region finds itself in the other view among other regions of its volume.

    Cross-entropy over (itself, its negatives) of cosines over ``tau``, both ways, mean over
    regions and volumes. ``first``, ``second``: ``[B, R, D]`` the same R regions in two views;
    ``negatives``: ``[R, n]`` indices of other regions.
    """
    first, second = nnf.normalize(first, dim=2), nnf.normalize(second, dim=2)
    losses = []
    for anchor, other in ((first, second), (second, first)):
        positive = (anchor * other).sum(2, keepdim=True)
        negative = torch.einsum("brd,brnd->brn", anchor, other[:, negatives])
        scores = torch.cat([positive, negative], 2) / tau
        losses.append(-scores.log_softmax(2)[..., 0].mean())
    return (losses[0] + losses[1]) / 2
