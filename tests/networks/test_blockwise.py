"""Convolutions whose kernel is their stride, beside torch's own with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simcvd.networks.blockwise import Grow, Shrink
from simcvd.types import IntTriple

BLOCKS: list[IntTriple] = [(1, 1, 1), (2, 2, 2), (2, 2, 1), (1, 3, 2)]
Layer = Shrink | Grow


def answer_and_gradients(layer: nn.Module, x: Tensor, plain: bool) -> list[Tensor]:
    """By our forward pass, or by that of the torch layer it derives from."""
    parent = nn.ConvTranspose3d if isinstance(layer, Grow) else nn.Conv3d
    x = x.clone().requires_grad_()
    y = parent.forward(layer, x) if plain else layer(x)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    return [y, *torch.autograd.grad((y * weight).sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("kind", [Shrink, Grow])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_equals_torch_with_the_same_parameters(
    kind: type[Layer], block: IntTriple, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer = kind(3, 5, block).double().to(memory_format=layout)
    x = torch.randn(2, 3, 4, 6, 8).double().to(memory_format=layout)
    ours, theirs = (answer_and_gradients(layer, x, plain) for plain in (False, True))
    for found, wanted in zip(ours, theirs, strict=True):
        assert found.shape == wanted.shape
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", [Shrink, Grow])
def test_a_block_of_voxels_by_hand(kind: type[Layer]) -> None:
    layer = kind(1, 1, (2, 1, 1)).requires_grad_(False)
    layer.weight.flatten()[:] = torch.tensor([2.0, 3.0])
    layer.bias[:] = 1.0  # type: ignore[index]
    x = torch.tensor([5.0, 7.0]).reshape(1, 1, 2, 1, 1)
    wanted = [5 * 2 + 7 * 3 + 1] if kind is Shrink else [11, 16, 15, 22]
    assert layer(x).flatten().tolist() == wanted


@pytest.mark.parametrize("kind", [Shrink, Grow])
def test_channels_stay_last(kind: type[Layer]) -> None:
    x = torch.randn(2, 4, 4, 4, 4).to(memory_format=torch.channels_last_3d)
    assert kind(4, 3, (2, 2, 2))(x).is_contiguous(memory_format=torch.channels_last_3d)
