"""Convolutions by Winograd's way, beside torch's own and worked numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from simcvd.networks.fast import accelerate, winograd
from simcvd.networks.fast.winograd import Convolution, convolve, weight_gradient
from simcvd.networks.vnet import VNet

# Batch, channels in and out, and sizes: whole tiles, parts of tiles, less than a tile.
SHAPES = [(1, 2, 3, (8, 8, 4)), (2, 4, 3, (6, 9, 5)), (2, 1, 2, (1, 2, 3)), (3, 3, 3, (17, 5, 8))]
LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Winograd's way for layers of any size."""
    monkeypatch.setattr(winograd, "CHANNELS", 1)
    monkeypatch.setattr(winograd, "WORK", 0)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "WORK", 1 << 62)


def test_a_line_by_hand() -> None:
    """Taps 1, 10, 100 on the digits 1 to 6: each output reads its three samples backwards."""
    x = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(1, 1, 6, 1, 1)
    weight = torch.zeros(1, 1, 3, 3, 3, dtype=torch.float64)
    weight[0, 0, :, 1, 1] = torch.tensor([1.0, 10.0, 100.0])
    wanted = torch.tensor([210.0, 321, 432, 543, 654, 65], dtype=torch.float64)
    torch.testing.assert_close(convolve(x, weight).flatten(), wanted)
    # The output at 2 alone has a gradient: each tap's is the sample it was multiplied by.
    at_two = torch.zeros_like(x)
    at_two[0, 0, 2] = 1
    wanted = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(weight_gradient(x, at_two)[0, 0, :, 1, 1], wanted)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("limit", [1, 1 << 22])
def test_equal_torch(
    shape: tuple[int, int, int, tuple[int, int, int]],
    layout: torch.memory_format,
    limit: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In float64, where only a mistake shows; in one go, and a tile at a time."""
    monkeypatch.setattr(winograd, "CONVOLUTION", limit)
    monkeypatch.setattr(winograd, "GRADIENT", limit)
    batch, channels, out, size = shape
    torch.manual_seed(0)
    x = torch.randn(batch, channels, *size).double().to(memory_format=layout)
    weight = torch.randn(out, channels, 3, 3, 3).double()
    bias = torch.randn(out).double()
    wanted = functional.conv3d(x, weight.requires_grad_(), bias, padding=1)
    behind = torch.randn_like(wanted)
    (of_weight,) = torch.autograd.grad(wanted, weight, behind)
    torch.testing.assert_close(convolve(x, weight.detach(), bias), wanted.detach())
    torch.testing.assert_close(weight_gradient(x, behind), of_weight)


@pytest.mark.parametrize("frozen", [(), ("weight",), ("bias",), ("weight", "bias")])
def test_the_layer_has_torchs_gradients(everywhere: None, frozen: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    ours, theirs = Convolution(5, 4), nn.Conv3d(5, 4, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 7, 6, 9)

    def answer_and_gradients(layer: nn.Conv3d) -> list[Tensor]:
        free = [p for name, p in layer.named_parameters() if name not in frozen]
        for parameter in layer.parameters():
            parameter.requires_grad_(any(parameter is p for p in free))
        inputs = [x.clone().requires_grad_(), *free]
        y = layer(inputs[0])
        return [y, *torch.autograd.grad((y * y.detach().cos()).sum(), inputs)]

    pairs = zip(answer_and_gradients(ours), answer_and_gradients(theirs), strict=True)
    for found, wanted in pairs:
        torch.testing.assert_close(
            found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.detach().abs().max())
        )


def test_channels_stay_last(everywhere: None) -> None:
    x = torch.randn(2, 3, 6, 4, 4).to(memory_format=torch.channels_last_3d)
    assert Convolution(3, 5)(x).is_contiguous(memory_format=torch.channels_last_3d)


def test_small_layers_are_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "convolve", None)
    layer, x = Convolution(16, 16), torch.randn(1, 16, 8, 8, 8)
    assert torch.equal(layer(x), nn.Conv3d.forward(layer, x))


def test_half_precision_is_torchs_own(everywhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "convolve", None)
    layer, x = Convolution(8, 8), torch.randn(1, 8, 8, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), nn.Conv3d.forward(layer, x))


def _steps(count: int) -> tuple[list[float], Tensor]:
    """A small V-Net's training: the loss at each step, and the gradient of the first."""
    torch.manual_seed(0)
    network = VNet(1, 2, widths=(4, 8, 16), blocks=(1, 2, 2), strides=((2, 2, 2),) * 2, dropout=0)
    accelerate(network, training=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
    image = torch.randn(2, 1, 24, 24, 24)
    label = (functional.avg_pool3d(image, 5, 1, 2)[:, 0] > 0).long()
    losses, gradients = [], []
    for _ in range(count):
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(image).logits, label)
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, gradients[0]


def test_a_training_follows_the_same_curve(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("everywhere")
    ours, gradient = _steps(12)
    request.getfixturevalue("nowhere")
    theirs, wanted = _steps(12)
    assert (gradient - wanted).norm() < 1e-4 * wanted.norm()
    assert theirs[-1] < 0.8 * theirs[0]  # there is something to follow
    assert ours == pytest.approx(theirs, rel=1e-3)
