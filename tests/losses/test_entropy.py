"""Entropy and what UA-MT does with it, on numbers worked by hand."""

from __future__ import annotations

from math import log

import pytest
import torch

from simcvd.losses.entropy import certain_consistency, entropy, mean_entropy


def _voxels(*probabilities: tuple[float, ...]) -> torch.Tensor:
    """``[1, K, N, 1, 1]`` from one tuple a voxel."""
    return torch.tensor(probabilities).T[None, :, :, None, None].clone()


def test_entropy_of_a_coin_a_certainty_and_a_loaded_coin() -> None:
    # 3/4 and 1/4: 0.75 log(4/3) + 0.25 log 4 = 0.562335.
    found = entropy(_voxels((0.5, 0.5), (1.0, 0.0), (0.75, 0.25)))
    assert found.shape == (1, 3, 1, 1)
    assert found.flatten().tolist() == pytest.approx([log(2), 0.0, 0.562335], abs=1e-6)


def test_gradient_at_a_probability_of_zero_is_finite() -> None:
    p = _voxels((1.0, 0.0)).requires_grad_()
    entropy(p).sum().backward()
    assert p.grad is not None
    assert p.grad.isfinite().all()


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_mean_entropy_is_one_where_nothing_is_known(classes: int) -> None:
    assert mean_entropy(torch.zeros(2, classes, 2, 2, 2)).item() == pytest.approx(1.0)


def test_mean_entropy_survives_very_certain_logits() -> None:
    logits = torch.tensor([300.0, -300.0]).view(1, 2, 1, 1, 1).requires_grad_()
    loss = mean_entropy(logits)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_certain_consistency_counts_only_certain_voxels() -> None:
    # Voxel 0 counts: errors 0.2^2 + 0.2^2 = 0.08 over 2 * 1. Voxel 1, off by 1, does not.
    student, teacher = _voxels((0.7, 0.3), (1.0, 0.0)), _voxels((0.9, 0.1), (0.0, 1.0))
    uncertainty = torch.tensor([0.3, 0.6]).view(1, 2, 1, 1)
    assert certain_consistency(student, teacher, uncertainty, 0.5).item() == pytest.approx(0.04)


def test_certain_consistency_of_all_voxels_is_the_mean_square_for_any_k() -> None:
    torch.manual_seed(0)
    student, teacher = torch.rand(2, 2, 3, 2, 2, 2).unbind(0)
    found = certain_consistency(student, teacher, torch.zeros(2, 2, 2, 2), 1.0)
    torch.testing.assert_close(found, (student - teacher).square().mean())


def test_certain_consistency_without_certain_voxels_is_zero_and_spares_the_teacher() -> None:
    student = _voxels((0.7, 0.3)).requires_grad_()
    teacher = _voxels((0.1, 0.9)).requires_grad_()
    loss = certain_consistency(student, teacher, torch.ones(1, 1, 1, 1), 0.5)
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad is not None
    assert not student.grad.any()
    assert teacher.grad is None
