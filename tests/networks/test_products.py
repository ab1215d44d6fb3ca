"""Convolutions as products, beside torch's own with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simcvd.networks.fast.products import Grow, Pointwise

LAYERS = {
    "head": lambda: Pointwise(3, 5),
    "even": lambda: Grow(3, 5, (2, 2, 2)),
    "flat": lambda: Grow(3, 5, (2, 2, 1)),
    "uneven": lambda: Grow(3, 5, (1, 3, 2)),
}
LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def answer_and_gradients(layer: nn.Module, x: Tensor, plain: bool) -> list[Tensor]:
    """By our forward pass, or by that of the torch layer it derives from."""
    parent = type(layer).__bases__[0]
    x = x.clone().requires_grad_()
    y = parent.forward(layer, x) if plain else layer(x)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    return [y, *torch.autograd.grad((y * weight).sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_torch_with_the_same_parameters(name: str, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().double().to(memory_format=layout)
    x = torch.randn(2, 3, 4, 6, 8).double().to(memory_format=layout)
    ours, theirs = (answer_and_gradients(layer, x, plain) for plain in (False, True))
    for found, wanted in zip(ours, theirs, strict=True):
        assert found.shape == wanted.shape
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("bias", [True, False])
def test_the_columns_that_a_gpu_gets_more_change_nothing(bias: bool) -> None:
    torch.manual_seed(0)
    layer = Pointwise(3, 5).double()
    layer.bias = layer.bias if bias else None
    x = torch.randn(2, 4, 6, 8, 3).double()
    answers = [product(x) for product in (layer._product, layer._padded)]
    gradients = [torch.autograd.grad(y.square().sum(), [*layer.parameters()]) for y in answers]
    torch.testing.assert_close(*answers)
    torch.testing.assert_close(*gradients)


def test_two_voxels_by_hand() -> None:
    layer = Grow(1, 1, (2, 1, 1)).requires_grad_(False)
    layer.load_state_dict(
        {"weight": torch.tensor([2.0, 3.0]).reshape(1, 1, 2, 1, 1), "bias": torch.ones(1)}
    )
    x = torch.tensor([5.0, 7.0]).reshape(1, 1, 2, 1, 1)
    assert layer(x).flatten().tolist() == [11.0, 16.0, 15.0, 22.0]


@pytest.mark.parametrize("name", LAYERS)
def test_channels_stay_last(name: str) -> None:
    x = torch.randn(2, 3, 4, 4, 4).to(memory_format=torch.channels_last_3d)
    assert LAYERS[name]()(x).is_contiguous(memory_format=torch.channels_last_3d)
