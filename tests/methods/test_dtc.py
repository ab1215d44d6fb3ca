"""What is particular to dual-task consistency."""

from __future__ import annotations

from math import log

import pytest
import torch
from tests.methods.stubs import END, START, TASK, Fixed, batch, build, trained_by

from simcvd.methods.dtc import Config, DualTaskConsistency


@pytest.fixture
def method() -> DualTaskConsistency:
    torch.manual_seed(0)
    return DualTaskConsistency(Config(), TASK, build)


def test_terms_of_fixed_heads(method: DualTaskConsistency) -> None:
    method.network = Fixed([log(3), 0.0], distance=0.0)
    terms = method(batch(), START)
    # A distance of 0 implies 1/2, the class head says 1/4; the true distance is 1.
    assert terms["con"].item() == pytest.approx(1 / 16)
    assert terms["sdm"].item() == pytest.approx(1.0)


def test_consistency_joins_both_heads_on_all_patches() -> None:
    torch.manual_seed(0)
    # At a steepness of 1500 an untrained map may lie where the step is flat; and in training
    # mode patches mix in batch norm.
    method = DualTaskConsistency(Config(steepness=5.0), TASK, build).eval()
    patches = batch()
    patches.image.requires_grad_()
    term = method(patches, START)["con"]
    assert {"network.class_head.weight", "network.distance_head.weight"} <= trained_by(term, method)
    term.backward()
    assert patches.image.grad is not None
    assert patches.image.grad.flatten(1).any(1).all()


def test_the_labels_are_learnt_by_dice_alone(method: DualTaskConsistency) -> None:
    method.network = Fixed([log(3), 0.0])
    patches = batch()
    patches.label.fill_(1)
    # 1/4 everywhere where all is foreground: 1 - 2 (1/4) / (1/16 + 1) = 9/17.
    assert method(patches, START)["seg"].item() == pytest.approx(9 / 17, abs=1e-5)


def test_weights_at_the_end(method: DualTaskConsistency) -> None:
    assert method.weights(END) == {"seg": 1.0, "sdm": 0.3, "con": 1.0}
