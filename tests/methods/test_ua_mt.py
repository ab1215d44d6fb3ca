"""What is particular to UA-MT."""

from __future__ import annotations

from math import log

import pytest
import torch
from tests.methods.stubs import END, START, TASK, Fixed, batch, build

from simcvd.methods.ua_mt import Config, UncertaintyAwareMeanTeacher


@pytest.fixture
def method() -> UncertaintyAwareMeanTeacher:
    torch.manual_seed(0)
    method = UncertaintyAwareMeanTeacher(Config(), TASK, build)
    method.network = Fixed([0.0, 0.0])
    return method


def test_the_threshold_rises_from_three_quarters_to_all_of_log_2(
    method: UncertaintyAwareMeanTeacher,
) -> None:
    # 3 to 1 has 0.811 of the highest entropy: above the threshold at the start (0.752), below
    # it at the end (1), where the error counts: (3/4 - 1/2)^2.
    method.teacher = Fixed([0.0, log(3)])
    assert method(batch(), START)["con"].item() == 0.0
    assert method(batch(), END)["con"].item() == pytest.approx(1 / 16)


def test_a_sure_teacher_counts_from_the_start(method: UncertaintyAwareMeanTeacher) -> None:
    # 9 to 1 has 0.469 of the highest entropy; (9/10 - 1/2)^2.
    method.teacher = Fixed([0.0, log(9)])
    assert method(batch(), START)["con"].item() == pytest.approx(0.16)


def test_eight_noisy_passes_beside_the_target(method: UncertaintyAwareMeanTeacher) -> None:
    method.teacher, patches = Fixed([0.0, log(9)]), batch()
    method(patches, START)
    seen = method.teacher.seen
    assert len(seen) == 9
    assert all(0 < (x - patches.image[2:]).abs().max() <= 0.2 + 1e-6 for x in seen)
    assert not any(torch.equal(x, seen[0]) for x in seen[1:])


def test_passes_differ_by_dropout_even_without_noise() -> None:
    torch.manual_seed(0)
    method = UncertaintyAwareMeanTeacher(Config(), TASK, build).train()
    x = torch.randn(2, 1, *TASK.patch)
    with torch.no_grad():
        assert not torch.equal(method.teacher(x).logits, method.teacher(x).logits)


def test_weights_at_the_end(method: UncertaintyAwareMeanTeacher) -> None:
    assert method.weights(END) == {"seg": 1.0, "con": 0.1}
