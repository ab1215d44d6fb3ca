"""The critic, and calling it frozen."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Conv3d, Dropout3d, LeakyReLU

from simcvd.networks.critic import Critic
from simcvd.networks.frozen import evaluating, frozen_call, scale_gradient
from simcvd.types import IntTriple


def test_parameters_on_the_left_atrium() -> None:
    # 4^3 = 64 taps: (64 * 3 + 1) 64 + (64 * 64 + 1) 128 + (64 * 128 + 1) 256
    # + (64 * 256 + 1) 512 + (512 + 1) 2 = 11,024,322.
    critic = Critic(3, (112, 112, 80))
    assert sum(p.numel() for p in critic.parameters()) == 11_024_322


@pytest.mark.parametrize("patch", [(16, 16, 8), (16, 16, 1), (20, 12, 6), (3, 5, 2)])
def test_thin_patches_are_halved_as_far_as_they_go(patch: IntTriple) -> None:
    critic = Critic(2, patch, widths=(4, 4, 4, 4))
    assert critic(torch.rand(2, 1, *patch), torch.rand(2, 1, *patch)).shape == (2, 2)
    # Ten voxels are halved three times: 10, 5, 2, 1; the fourth layer leaves the axis alone.
    layers = [m for m in Critic(2, (10, 16, 16)).modules() if isinstance(m, Conv3d)]
    assert [layer.stride[0] for layer in layers] == [2, 2, 2, 1]


def test_dropout_after_all_convolutions_but_the_last() -> None:
    kinds = [type(layer) for layer in Critic(2, (16, 16, 16)).layers]
    assert kinds.count(Dropout3d) == 3
    assert kinds[-1] is LeakyReLU


def test_evaluating_ends_with_the_mode_of_before() -> None:
    critic = Critic(2, (8, 8, 8), widths=(4, 4))
    with evaluating(critic):
        assert not any(module.training for module in critic.modules())
    assert all(module.training for module in critic.modules())
    with pytest.raises(RuntimeError), evaluating(critic):
        critic(torch.rand(1, 5, 8, 8, 8), torch.rand(1, 1, 8, 8, 8))  # too many channels
    assert all(module.training for module in critic.modules())
    with evaluating(critic.eval()):
        pass
    assert not critic.training


def test_a_scaled_gradient_leaves_the_value() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    y = scale_gradient(x, 0.25)
    assert y.tolist() == [2.0, 3.0]
    y.square().sum().backward()  # 2 x, a quarter of it
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.5]


def test_a_frozen_call_gives_the_inputs_the_same_gradient_and_the_parameters_none() -> None:
    torch.manual_seed(0)
    critic = Critic(2, (8, 8, 8), widths=(4, 4)).eval()
    image = torch.rand(2, 1, 8, 8, 8)
    maps, again = (torch.full((2, 1, 8, 8, 8), 0.3, requires_grad=True) for _ in range(2))
    frozen_call(critic, maps, image)[:, 1].sum().backward()
    assert all(p.grad is None for p in critic.parameters())
    critic(again, image)[:, 1].sum().backward()
    assert all(p.grad is not None for p in critic.parameters())
    assert maps.grad is not None
    assert maps.grad.any()
    torch.testing.assert_close(maps.grad, again.grad)
