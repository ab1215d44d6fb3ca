"""Layers exchanged by type: the same names and answers, and what is not understood stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simcvd.networks.autocast import Conv3d
from simcvd.networks.fast import accelerate, folding, is_accelerated
from simcvd.networks.fast.products import Grow, Pointwise
from simcvd.networks.fast.winograd import Convolution
from simcvd.networks.residual_unet import ResidualUNet, ResidualUNetConfig
from simcvd.networks.vnet import VNet

SMALL = ResidualUNetConfig(widths=(4, 8, 8), blocks=(1, 2, 1), strides=((2, 2, 1), (2, 2, 2)))
NETWORKS = {
    "vnet": lambda: VNet(
        2, 3, distance=True, widths=(4, 8, 8), blocks=(1, 2, 1), strides=((2, 2, 1), (2, 2, 2))
    ),
    "residual_unet": lambda: ResidualUNet(2, 3, config=SMALL, distance=True),
}


class Derived(nn.Conv3d):
    """Whose forward may be anything."""


KINDS = [
    (nn.Conv3d(4, 6, 3, padding=1), Convolution),
    (nn.Conv3d(4, 6, 3, padding=1, bias=False), Convolution),
    (nn.Conv3d(4, 6, 1), Pointwise),
    (nn.ConvTranspose3d(4, 6, (2, 2, 1), stride=(2, 2, 1)), Grow),
    (nn.Conv3d(4, 6, 3, padding=1, stride=2), Conv3d),
    (nn.Conv3d(4, 6, 3, padding=1, groups=2), Conv3d),
    (nn.Conv3d(4, 6, 3, padding=2, dilation=2), Conv3d),
    (nn.Conv3d(4, 6, 1, stride=2), Conv3d),
    (nn.ConvTranspose3d(4, 6, 3, stride=2), nn.ConvTranspose3d),
    (nn.ConvTranspose3d(4, 6, 2, stride=2, bias=False), nn.ConvTranspose3d),
    (nn.ConvTranspose3d(4, 6, 2, stride=2, groups=2), nn.ConvTranspose3d),
    (nn.Conv3d(4, 6, 3, padding="same"), nn.Conv3d),
    (nn.Conv3d(4, 6, 3, padding=1, padding_mode="reflect"), nn.Conv3d),
    (Derived(4, 6, 3, padding=1), Derived),
]


@pytest.mark.parametrize(("layer", "kind"), KINDS)
def test_a_layer_becomes_what_computes_the_same(layer: nn.Module, kind: type[nn.Module]) -> None:
    layer.double()
    x = torch.randn(2, 4, 8, 8, 4, dtype=torch.float64)
    before, names = layer(x), [*layer.state_dict()]
    weight = layer.weight
    assert accelerate(layer, training=True) is layer
    assert type(layer) is kind
    assert layer.weight is weight
    assert [*layer.state_dict()] == names
    torch.testing.assert_close(layer(x), before, rtol=1e-12, atol=1e-12)
    ours = kind not in (nn.Conv3d, nn.ConvTranspose3d, Derived)
    assert is_accelerated(layer) == ours


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_answer_and_learn_as_before(name: str) -> None:
    torch.manual_seed(0)
    plain = NETWORKS[name]().double().eval()
    quick = NETWORKS[name]().double().eval()
    quick.load_state_dict(plain.state_dict())
    quick = accelerate(quick, training=True)
    assert is_accelerated(quick)
    x = torch.randn(2, 2, 8, 8, 4, dtype=torch.float64)
    answers = [network(x) for network in (plain, quick)]
    for maps in ("logits", "distance", "features"):
        found, wanted = (getattr(answer, maps) for answer in answers[::-1])
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    for answer in answers:
        answer.logits.square().mean().backward()
    for ours, theirs in zip(quick.parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_for_prediction_a_copy_is_made_that_shares_its_weights(name: str) -> None:
    network = NETWORKS[name]().eval()
    quick, x = accelerate(network, training=False), torch.randn(1, 2, 8, 8, 4)
    assert quick is not network
    head = quick.get_parameter("class_head.weight")
    assert head is network.get_parameter("class_head.weight")
    torch.testing.assert_close(quick(x).logits, network(x).logits, rtol=1e-4, atol=1e-4)


def test_a_torch_without_the_private_operators_predicts_in_plain_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = VNet(1, 2, widths=(4, 8), blocks=(1, 1), strides=((2, 2, 2),)).eval()
    quick, x = accelerate(network, training=False), torch.randn(1, 1, 8, 8, 8)

    def answer() -> Tensor:
        folding._has_kernels.cache_clear()
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            return quick(x).logits.float()

    with_them = answer()

    class Without:
        """As after torch took them away."""

    monkeypatch.setattr(torch.ops, "mkldnn", Without())
    without = answer()
    assert not folding._has_kernels(torch.bfloat16)
    torch.testing.assert_close(without, with_them, rtol=0.05, atol=0.05)
    monkeypatch.undo()
    folding._has_kernels.cache_clear()


def test_the_plain_network_can_be_differentiated_twice() -> None:
    network = VNet(1, 2, widths=(2, 4), blocks=(1, 1), strides=((2, 2, 2),)).double().eval()
    x = torch.randn(1, 1, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(network(x).logits.square().sum(), x, create_graph=True)
    first.square().sum().backward()
    assert x.grad is not None
    assert x.grad.any()
