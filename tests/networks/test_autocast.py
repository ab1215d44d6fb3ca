"""Precision of the networks. Worked by torch's own convolution in float64, of the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from simcvd.networks.autocast import Conv3d, autocast_dtype
from simcvd.networks.critic import Critic
from simcvd.networks.fast import accelerate
from simcvd.networks.fast.winograd import Convolution
from simcvd.networks.vnet import VNet
from simcvd.types import IntTriple, SimcvdError

ROUNDING = 0.02  # of a bfloat16 gradient, relative; 2 ** -9 and what sums add to it


def _answers(layer: nn.Conv3d, x: Tensor, weight: Tensor) -> list[Tensor]:
    """The output and the gradients of input and weight, with respect to a fixed sum."""
    layer.to(x.dtype).weight.data.copy_(weight)
    layer.bias.data.zero_()  # type: ignore[union-attr]
    x = x.requires_grad_()
    y = layer(x)
    generator = torch.Generator().manual_seed(1)
    factors = torch.randn(y.shape, generator=generator).bfloat16().to(y.dtype)
    (y * factors).sum().backward()
    assert layer.weight.grad is not None
    assert x.grad is not None
    return [y.detach(), x.grad, layer.weight.grad]


# Of these, torch 2.13 on AVX512-BF16 gets the first four wrong in bfloat16.
@pytest.mark.parametrize(
    ("channels", "size"),
    [
        (16, (2, 4, 4)),
        (32, (2, 2, 2)),
        (24, (2, 6, 5)),
        (1, (1, 4, 4)),
        (16, (4, 1, 2)),
        (32, (3, 3, 3)),
        (32, (7, 6, 5)),
    ],
)
def test_convolutions_of_small_maps_are_right_in_bfloat16(channels: int, size: IntTriple) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, *size, generator=generator).bfloat16()
    weight = torch.randn(16, channels, 3, 3, 3, generator=generator).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = _answers(Convolution(channels, 16), x.float(), weight)
    wanted = _answers(nn.Conv3d(channels, 16, 3, padding=1).double(), x.double(), weight)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.double() - theirs).norm() < ROUNDING * theirs.norm()


def test_a_critic_of_a_flat_map_is_right_in_bfloat16() -> None:
    torch.manual_seed(0)
    layer = Conv3d(32, 8, 4, stride=2, padding=1)
    weight = torch.randn(8, 32, 4, 4, 4).bfloat16()
    x = torch.randn(8, 32, 20, 2, 3).bfloat16()  # to one voxel along Y and Z
    with torch.autocast("cpu", torch.bfloat16):
        found = _answers(layer, x.float(), weight)
    wanted = _answers(nn.Conv3d(32, 8, 4, stride=2, padding=1).double(), x.double(), weight)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.double() - theirs).norm() < ROUNDING * theirs.norm()


def test_networks_convolve_with_it() -> None:
    for network in (accelerate(VNet(1, 2), training=True), Critic(3, (8, 8, 8))):
        padded = [m for m in network.modules() if isinstance(m, nn.Conv3d) and m.kernel_size[0] > 1]
        assert padded
        assert all(isinstance(m, Conv3d) for m in padded)


def test_small_maps_and_few_weights_are_convolved_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[torch.dtype] = []

    def noted(x: Tensor, *rest: Any, **named: Any) -> Tensor:
        used.append(torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype)
        return convolve(x, *rest, **named)

    convolve = nn.functional.conv3d
    monkeypatch.setattr(nn.functional, "conv3d", noted)
    with torch.autocast("cpu", torch.bfloat16):
        for layer, size in (
            (Convolution(8, 8), (3, 3, 3)),
            (Convolution(8, 8), (3, 3, 2)),
            (Convolution(1, 8), (9, 9, 9)),
            (Conv3d(16, 8, 2, stride=2), (6, 6, 6)),
            (Conv3d(16, 8, 2, stride=2), (6, 5, 6)),
        ):
            assert layer(torch.randn(1, layer.in_channels, *size)).dtype == torch.bfloat16
    half, single = torch.bfloat16, torch.float32
    assert used == [half, single, single, half, single]


def test_the_image_s_own_layer_keeps_the_weights_a_network_has() -> None:
    """On a smooth image the errors of 27 rounded weights add up; in float32 there are none."""
    torch.manual_seed(0)
    layer, x = Convolution(1, 16), torch.full((1, 1, 5, 5, 5), 3.0)
    exact = layer.double()(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = layer.float()(x)
    # What is left is the rounding of the output, half a step of 2 ** -7 between powers of two.
    assert ((found - exact).abs() <= 2.0**-8 * exact.abs()).all()


def test_another_precision_is_refused() -> None:
    with pytest.raises(
        SimcvdError, match=r"no precision '32'; give one of auto, float32, bfloat16"
    ):
        autocast_dtype("32", torch.device("cpu"))  # type: ignore[arg-type]
