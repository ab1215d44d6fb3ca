"""What is particular to SASSNet."""

from __future__ import annotations

import pytest
import torch
from tests.methods.stubs import END, START, TASK, Fixed, batch, build, trained_by

from simcvd.methods.sassnet import Config, SASSNet


@pytest.fixture
def method() -> SASSNet:
    torch.manual_seed(0)
    return SASSNet(Config(), TASK, build)


def test_the_critic_reads_the_distance_map_not_the_classes(method: SASSNet) -> None:
    trained = trained_by(method(batch(), START)["fool"], method)
    assert "network.distance_head.weight" in trained
    assert "network.class_head.weight" not in trained
    assert not any(name.startswith("critic") for name in trained)


def test_distance_maps_are_learnt_on_labelled_patches(method: SASSNet) -> None:
    method.network = Fixed([0.0, 0.0], distance=0.5)
    # The truth is 1 everywhere: (1 - 1/2)^2.
    assert method(batch(), START)["sdm"].item() == pytest.approx(0.25)


def test_weights_at_the_end(method: SASSNet) -> None:
    assert method.weights(END) == {"seg": 1.0, "sdm": 0.3, "fool": 0.015, "critic": 1.0}
