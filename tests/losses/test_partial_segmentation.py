"""L_seg over the voxels that have a label, against explicit loops."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from simcvd.losses.segmentation import partial_segmentation, segmentation
from simcvd.types import UNKNOWN

SMOOTH = 1e-5


def _case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of three classes and labels, a third of them unknown."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 3, 3, 2, 2, generator=generator)
    label = torch.randint(3, (2, 3, 2, 2), generator=generator)
    label[torch.rand(label.shape, generator=generator) < 0.33] = UNKNOWN
    return logits, label


def _by_loops(logits: torch.Tensor, label: torch.Tensor, share: float) -> float:
    scores, known = logits.movedim(1, -1).reshape(-1, 3).tolist(), label.flatten().tolist()
    voxels = [(s, k) for s, k in zip(scores, known, strict=True) if k != UNKNOWN]
    shares = [[exp(v) / sum(map(exp, s)) for v in s] for s, _ in voxels]
    labels = [k for _, k in voxels]
    ce = sum(-log(p[k]) for p, k in zip(shares, labels, strict=True)) / len(labels)
    losses = []
    for k in (1, 2):
        overlap = sum(p[k] for p, y in zip(shares, labels, strict=True) if y == k)
        total = sum(p[k] ** 2 for p in shares) + labels.count(k)
        losses.append(1 - (2 * overlap + SMOOTH) / (total + SMOOTH))
    return share * ce + (1 - share) * sum(losses) / 2


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_only_known_voxels_count(share: float) -> None:
    logits, label = _case()
    found = partial_segmentation(logits, label, share).item()
    assert found == pytest.approx(_by_loops(logits, label, share), rel=1e-5)


def test_no_gradient_reaches_a_voxel_without_label() -> None:
    logits, label = _case()
    logits.requires_grad_()
    partial_segmentation(logits, label).backward()
    assert logits.grad is not None
    size = logits.grad.abs().sum(1)
    assert not size[label == UNKNOWN].any()
    assert (size[label != UNKNOWN] > 0).all()


def test_it_is_l_seg_where_every_voxel_has_a_label() -> None:
    logits, label = _case()
    label = label.clamp_min(0)
    torch.testing.assert_close(partial_segmentation(logits, label), segmentation(logits, label))


def test_without_any_label_loss_and_gradient_are_zero() -> None:
    logits, label = _case()
    logits.requires_grad_()
    loss = partial_segmentation(logits, torch.full_like(label, UNKNOWN))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_half_precision_is_computed_in_float32() -> None:
    logits, label = _case()
    half = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = partial_segmentation(half, label)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(_by_loops(half.float(), label, 0.5), rel=1e-5)
