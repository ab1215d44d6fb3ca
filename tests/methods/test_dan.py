"""What is particular to the deep adversarial network."""

from __future__ import annotations

from math import log

import pytest
import torch
from tests.methods.stubs import END, START, TASK, batch, build, trained_by

from simcvd.engine.optim import build_optimizers
from simcvd.engine.settings import TrainConfig
from simcvd.methods.dan import Config, DeepAdversarialNetwork


@pytest.fixture
def method() -> DeepAdversarialNetwork:
    torch.manual_seed(0)
    return DeepAdversarialNetwork(Config(), TASK, build)


def test_terms_of_a_critic_that_says_three_to_one_labelled(method: DeepAdversarialNetwork) -> None:
    torch.nn.init.zeros_(method.critic.score.weight)
    method.critic.score.bias.data = torch.tensor([0.0, log(3)])
    terms = method(batch(), START)
    assert terms["fool"].item() == pytest.approx(log(4 / 3))
    # Right on two labelled patches, wrong on two unlabelled ones.
    assert terms["critic"].item() == pytest.approx((log(4 / 3) + log(4)) / 2)


def test_fooling_and_critic_train_one_side_each(method: DeepAdversarialNetwork) -> None:
    terms = method(batch(), START)
    assert {name.split(".")[0] for name in trained_by(terms["fool"], method)} == {"network"}
    assert {name.split(".")[0] for name in trained_by(terms["critic"], method)} == {"critic"}


def test_only_unlabelled_patches_fool(method: DeepAdversarialNetwork) -> None:
    method.eval()  # otherwise patches mix in batch norm
    patches = batch()
    patches.image.requires_grad_()
    method(patches, START)["fool"].backward()
    assert patches.image.grad is not None
    assert patches.image.grad.flatten(1).any(1).tolist() == [False, False, True, True]


def test_the_critic_has_adam_and_full_weight(method: DeepAdversarialNetwork) -> None:
    optimizers = build_optimizers(method.players(), TrainConfig())
    assert isinstance(optimizers["critic"], torch.optim.Adam)
    assert optimizers["critic"].defaults["lr"] == 1e-4
    assert optimizers["critic"].defaults["betas"] == (0.9, 0.99)
    assert isinstance(optimizers["network"], torch.optim.SGD)
    assert method.weights(START)["critic"] == 1.0
    assert method.weights(END)["fool"] == 0.1
