"""What is particular to entropy minimisation."""

from __future__ import annotations

from math import log

import pytest
import torch
from tests.methods.stubs import END, START, TASK, Fixed, batch, build

from simcvd.methods.entropy_minimization import Config, EntropyMinimization


def test_entropy_of_three_to_one_as_a_share_of_log_2() -> None:
    method = EntropyMinimization(Config(), TASK, build)
    method.network = Fixed([0.0, log(3)])
    # 0.75 log(4/3) + 0.25 log 4 = 0.562335, over log 2.
    assert method(batch(), START)["entropy"].item() == pytest.approx(0.811278, abs=1e-6)


def test_labelled_patches_count_too() -> None:
    torch.manual_seed(0)
    method, patches = EntropyMinimization(Config(), TASK, build), batch()
    patches.image.requires_grad_()
    method(patches, START)["entropy"].backward()
    assert patches.image.grad is not None
    assert patches.image.grad.flatten(1).any(1).all()


def test_weight_is_ramped_to_a_tenth() -> None:
    method = EntropyMinimization(Config(), TASK, build)
    assert method.weights(START)["entropy"] == pytest.approx(0.000674, abs=1e-6)
    assert method.weights(END) == {"seg": 1.0, "entropy": 0.1}
