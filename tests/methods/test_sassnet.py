"""What is particular to SASSNet."""

from __future__ import annotations

from math import log

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


def test_the_labels_are_learnt_by_dice_alone(method: SASSNet) -> None:
    method.network = Fixed([log(3), 0.0])
    patches = batch()
    patches.label.fill_(1)
    # 1/4 everywhere where all is foreground: 1 - 2 (1/4) / (1/16 + 1) = 9/17.
    assert method(patches, START)["seg"].item() == pytest.approx(9 / 17, abs=1e-5)


def test_the_critic_learns_last_from_the_distance_maps_in_evaluation_mode(method: SASSNet) -> None:
    modes, maps = [], []
    method.network.register_forward_hook(lambda module, *_: modes.append(module.training))
    method.critic.register_forward_hook(lambda _, inputs, __: maps.append(inputs[0]))
    critic = method.train().later(batch(), START)["critic"]
    assert modes == [False]
    assert maps[0].shape == (4, 1, *TASK.patch)
    assert {name.split(".")[0] for name in trained_by(critic, method)} == {"critic"}


def test_weights_at_the_end(method: SASSNet) -> None:
    assert method.weights(END) == {"seg": 1.0, "sdm": 0.3, "fool": 0.015, "critic": 1.0}
