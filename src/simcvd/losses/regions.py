"""Parts of volumes and the contrast between them (Chaitanya et al., NeurIPS 2020, Eqs. 1, 2)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as nnf

from simcvd.losses.precision import float32

SIDE = 3  # of a region, in voxels of the decoder's map along X and Y


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
    return nnf.softplus(repelled - similarity).gather(1, _partners(count, partition)).mean()


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


def cut_partitions(x: Tensor, count: int, step: int) -> Tensor:
    """``[B, C, X, Y, Z]`` -> ``[B * count, C, X, Y, W]``: equal parts along Z, in order.

    W is the length of a part rounded up to a multiple of ``step``, its last slice repeated.
    """
    bounds = [i * x.shape[-1] // count for i in range(count + 1)]
    width = -(-max(b - a for a, b in pairwise(bounds)) // step) * step
    slices = torch.arange(width, device=x.device)
    parts = [x[..., (a + slices).clamp(max=b - 1)] for a, b in pairwise(bounds)]
    return torch.stack(parts, 1).flatten(0, 1)


def _partners(count: int, partition: Tensor) -> Tensor:
    """Of each row, those of the same partition in the others: ``[N * P, N - 1]``."""
    rows = torch.arange(len(partition), device=partition.device)
    step = len(partition) // count
    view, other = rows[:, None] // step, rows[: count - 1]
    return (other + (other >= view)) * step + partition[:, None]


def pool_regions(x: Tensor) -> Tensor:
    """``[B, W, X, Y, Z]`` -> ``[B, N, W]``: means of the 3 x 3 regions that tile each slice."""
    sides = (min(SIDE, x.shape[2]), min(SIDE, x.shape[3]), 1)
    return nnf.avg_pool3d(x, sides).flatten(2).transpose(1, 2)


def draw_others(regions: int, count: int, device: torch.device) -> Tensor:
    """For each of ``regions``, ``count`` different other ones (all where there are fewer)."""
    offsets = 1 + torch.randperm(regions - 1, device=device)[:count]
    return (torch.arange(regions, device=device)[:, None] + offsets) % regions
