"""What is particular to the deep adversarial network."""

from __future__ import annotations

from math import log

import pytest
import torch
from tests.methods.stubs import END, START, TASK, Fixed, batch, build, trained_by

from simcvd.methods.dan import Config, DeepAdversarialNetwork
from simcvd.training.optim import build_optimizers
from simcvd.training.settings import TrainConfig


@pytest.fixture
def method() -> DeepAdversarialNetwork:
    torch.manual_seed(0)
    return DeepAdversarialNetwork(Config(), TASK, build)


def test_terms_of_a_critic_that_says_three_to_one_labelled(method: DeepAdversarialNetwork) -> None:
    torch.nn.init.zeros_(method.critic.score.weight)
    method.critic.score.bias.data = torch.tensor([0.0, log(3)])
    assert method(batch(), START)["fool"].item() == pytest.approx(log(4 / 3))
    # Right on two labelled patches, wrong on two unlabelled ones.
    critic = method.later(batch(), START)["critic"]
    assert critic.item() == pytest.approx((log(4 / 3) + log(4)) / 2)


def test_fooling_and_critic_train_one_side_each(method: DeepAdversarialNetwork) -> None:
    fool, critic = method(batch(), START)["fool"], method.later(batch(), START)["critic"]
    assert {name.split(".")[0] for name in trained_by(fool, method)} == {"network"}
    assert {name.split(".")[0] for name in trained_by(critic, method)} == {"critic"}


def test_the_critic_evaluates_while_it_is_fooled_and_the_network_while_it_learns(
    method: DeepAdversarialNetwork,
) -> None:
    modes: dict[str, list[bool]] = {"network": [], "critic": []}
    for name, seen in modes.items():
        module = getattr(method, name)
        module.register_forward_hook(lambda m, *_, seen=seen: seen.append(m.training))
    method.train()(batch(), START)
    assert modes == {"network": [True], "critic": [False]}
    method.later(batch(), START)
    assert modes == {"network": [True, False], "critic": [False, True]}
    assert all(module.training for module in method.modules())


def test_the_critic_learns_from_the_network_as_it_is_after_its_step(
    method: DeepAdversarialNetwork,
) -> None:
    method.network, patches = Fixed([0.0, 0.0]), batch()
    maps: list[torch.Tensor] = []
    method.critic.register_forward_hook(lambda _, inputs, __: maps.append(inputs[0]))
    method(patches, START)
    method.network.scores.data = torch.tensor([0.0, log(3)])  # the step
    method.later(patches, START)
    assert maps[0][:, 1].unique().tolist() == [0.5]
    assert maps[1][:, 1].unique().tolist() == pytest.approx([0.75])
    assert [len(m) for m in maps] == [2, 4]


def test_only_unlabelled_patches_fool(method: DeepAdversarialNetwork) -> None:
    method.eval()  # otherwise patches mix in batch norm
    patches = batch()
    patches.image.requires_grad_()
    method(patches, START)["fool"].backward()
    assert patches.image.grad is not None
    assert patches.image.grad.flatten(1).any(1).tolist() == [False, False, True, True]


def test_the_critic_has_adam_and_full_weight(method: DeepAdversarialNetwork) -> None:
    optimizers = build_optimizers(method, TrainConfig())
    assert isinstance(optimizers["critic"], torch.optim.Adam)
    assert optimizers["critic"].defaults["lr"] == 1e-4
    assert optimizers["critic"].defaults["betas"] == (0.9, 0.99)
    assert isinstance(optimizers["network"], torch.optim.SGD)
    assert method.weights(START)["critic"] == 1.0
    assert method.weights(END)["fool"] == 0.1
