"""Batch norms folded into convolutions: the same answers with fewer layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simcvd.networks.autocast import Conv3d
from simcvd.networks.fast import accelerate
from simcvd.networks.fast.folding import Rectified, _has_kernels, folded
from simcvd.networks.fast.products import Grow
from simcvd.networks.vnet import VNet
from simcvd.types import IntTriple

HALVES = (2, 2, 2)


def with_statistics(network: nn.Module) -> nn.Module:
    """Its batch norms as after a training: statistics and weights far from 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm3d):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                if tensor is not None:
                    tensor.data.uniform_(0.5, 2.0, generator=generator)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm3d) for module in network.modules())


def test_a_vnet_answers_as_before_and_stays_as_it_was() -> None:
    torch.manual_seed(0)
    network = with_statistics(VNet(2, 3, distance=True, widths=(4, 4, 8, 8, 8)).double())
    accelerate(network, training=True)
    x = torch.randn(2, 2, 16, 32, 16).double()
    before, state = network(x), {k: v.clone() for k, v in network.state_dict().items()}
    network.train()
    quick = folded(network)
    after = quick(x)
    assert network.training
    assert not quick.training
    assert (norms(network), norms(quick)) == (29, 0)
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    for found, wanted in ((after.logits, before.logits), (after.features, before.features)):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert quick.get_parameter("class_head.weight") is network.get_parameter("class_head.weight")


@pytest.mark.parametrize("size", [(32, 32, 32), (16, 32, 48)])
def test_in_half_precision_a_folded_network_answers_the_same(size: IntTriple) -> None:
    network = with_statistics(VNet(1, 2, widths=(4, 8, 8), blocks=(1, 2, 2), strides=(HALVES,) * 2))
    accelerate(network, training=True)
    quick, x = folded(network), torch.randn(2, 1, *size)
    joined = [m for m in quick.modules() if isinstance(m, Rectified)]
    assert len(joined) == 12  # 5 + 3 convolutions, 2 down, 2 up
    with torch.autocast("cpu", torch.bfloat16):
        apart = quick(x).logits.detach()
        with torch.inference_mode():
            found = quick(x).logits
    # Two channels of those kernels' own rounding apart: up-sampling with gradients is a product.
    torch.testing.assert_close(found, apart, rtol=2**-6, atol=2**-6)
    used = any(one._rounded is not None for one in joined)
    assert used == _has_kernels(torch.bfloat16)  # which not every processor has


def test_a_joined_convolution_answers_as_the_two_apart() -> None:
    torch.manual_seed(0)
    down, up = Conv3d(16, 8, 2, stride=2), Grow(16, 8, HALVES)
    x = torch.randn(2, 16, 8, 8, 8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for layer in (down, up, Conv3d(16, 8, 3, padding=1)):
            assert torch.equal(Rectified(layer)(x), layer(x).relu())


GROUPED = [nn.ConvTranspose3d(4, 6, 1, groups=2), nn.BatchNorm3d(6)]
BATCHWISE = [nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4, track_running_stats=False)]
BETWEEN = [nn.Conv3d(4, 4, 1), nn.ReLU(), nn.BatchNorm3d(4)]


@pytest.mark.parametrize("layers", [GROUPED, BATCHWISE, BETWEEN])
def test_what_cannot_be_folded_is_left(layers: list[nn.Module]) -> None:
    network = with_statistics(nn.Sequential(*layers))
    x = torch.randn(2, 4, 3, 3, 3)
    assert norms(folded(network)) == 1
    torch.testing.assert_close(folded(network)(x), network(x))


class Whole(nn.Module):
    """Not an `nn.Sequential`: what runs after what is not to be seen from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm3d(4), nn.Conv3d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.norm(x))


def test_other_modules_are_left() -> None:
    assert norms(folded(with_statistics(Whole()))) == 1
