"""Global and local contrast against slow loops over the paper's indices."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch.nn.functional import cosine_similarity

from simcvd.losses.regions import partition_contrast, region_contrast

TAU = 0.5


def _similar(a: torch.Tensor, b: torch.Tensor) -> float:
    return exp(cosine_similarity(a, b, dim=0).item() / TAU)


def test_partition_contrast_against_a_loop() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(3, 4, 5)
    losses = []
    for i in range(3):
        for s in range(4):
            repelled = sum(
                _similar(vectors[i, s], vectors[n, p]) for n in range(3) for p in range(4) if p != s
            )
            for j in {0, 1, 2} - {i}:
                attracted = _similar(vectors[i, s], vectors[j, s])
                losses.append(-log(attracted / (attracted + repelled)))
    found = partition_contrast(vectors, TAU)
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_partition_contrast_of_equal_vectors_is_the_log_of_its_candidates() -> None:
    # Two views of four volumes: 8 vectors a partition, 24 of the three others, and the positive.
    assert partition_contrast(torch.ones(8, 4, 6), 0.1).item() == pytest.approx(log(25))


def test_partition_contrast_of_perfectly_told_partitions() -> None:
    # One-hot by partition: cosines 1 and 0 at tau 0.1, 24 negatives: log(1 + 24 e^-10) = 0.001089.
    vectors = torch.eye(4).expand(8, 4, 4)
    assert partition_contrast(vectors, 0.1).item() == pytest.approx(0.001089, abs=1e-6)


def test_region_contrast_against_a_loop() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 4, 5).unbind(0)
    negatives = torch.tensor([[1, 2], [2, 3], [3, 0], [0, 1]])
    losses = []
    for a, b in ((first, second), (second, first)):
        for i in range(2):
            for r in range(4):
                attracted = _similar(a[i, r], b[i, r])
                repelled = sum(_similar(a[i, r], b[i, n]) for n in negatives[r].tolist())
                losses.append(-log(attracted / (attracted + repelled)))
    found = region_contrast(first, second, negatives, TAU)
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)
