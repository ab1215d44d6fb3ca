"""From distance to probability and back to a loss."""

from __future__ import annotations

import pytest
import torch

from simcvd.losses.dual_task import distance_to_probability, dual_task_consistency


def test_inside_is_one_the_boundary_a_half_outside_zero() -> None:
    # 0.001 outside: sigmoid(-1.5) = 0.182426.
    distance = torch.tensor([-0.5, 0.0, 0.001, 0.5])
    expected = [1.0, 0.5, 0.182426, 0.0]
    assert distance_to_probability(distance).tolist() == pytest.approx(expected, abs=1e-6)


def test_consistency_of_a_worked_voxel_of_three_classes() -> None:
    # Implied (1/2, 0) against (1/4, 1/4): (1/16 + 1/16) / 2; the background does not count.
    distance = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    probabilities = torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1, 1, 1)
    assert dual_task_consistency(probabilities, distance).item() == pytest.approx(1 / 16)


def test_both_heads_learn() -> None:
    distance = torch.zeros(1, 1, 1, 1, 1, requires_grad=True)
    probabilities = torch.tensor([0.9, 0.1]).view(1, 2, 1, 1, 1).requires_grad_()
    dual_task_consistency(probabilities, distance).backward()
    assert distance.grad is not None
    assert probabilities.grad is not None
    # Implied 0.5 is 0.4 too high: 2 * 0.4 * (-1500 / 4) = -300 pushes the distance outwards,
    assert distance.grad.item() == pytest.approx(-300.0)
    # and -2 * 0.4 draws the probability upwards.
    assert probabilities.grad[0, 1].item() == pytest.approx(-0.8)
