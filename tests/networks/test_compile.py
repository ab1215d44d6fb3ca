"""Every network is one graph to torch's compiler and exporter, in float32 and in half precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from tests.small import NETWORK
from torch import Tensor
from torch.utils import _pytree as pytree

from simcvd.networks.critic import Critic
from simcvd.networks.projection import ProjectionHead
from simcvd.networks.vnet import VNet
from simcvd.types import Prediction

PATCH = (16, 16, 8)
SIZES = {name: asdict(NETWORK)[name] for name in ("widths", "blocks", "strides")}


def _vnet(*, distance: bool) -> VNet:
    return VNet(1, 3, distance=distance, **SIZES)


def _image() -> Tensor:
    return torch.randn(2, 1, *PATCH, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _as_in_torch_2_11(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose compiler cannot see through this question; afterwards nothing compiled is kept."""
    asked = torch.amp.is_autocast_available
    opaque = torch.compiler.disable(asked)
    monkeypatch.setattr(torch.amp, "is_autocast_available", opaque)
    torch.compiler.reset()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("distance", [False, True])
def test_the_v_net_is_one_graph(distance: bool, half: bool) -> None:
    network, x = _vnet(distance=distance), _image()
    compiled = torch.compile(network, fullgraph=True, backend="eager", dynamic=False)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        torch.manual_seed(0)
        expected = network(x)
        torch.manual_seed(0)
        found = compiled(x)
    assert torch.equal(found.logits, expected.logits)
    assert (found.distance is None) == (not distance)
    found.logits.float().sum().backward()
    assert all(p.grad is not None for n, p in network.named_parameters() if "distance" not in n)


@pytest.mark.parametrize(
    ("network", "inputs"),
    [
        (Critic(4, PATCH), lambda: (torch.zeros(2, 3, *PATCH), _image())),
        (ProjectionHead(pool=8, hidden=8, out=4), lambda: (_image()[:, 0],)),
        (ProjectionHead(pool=8, hidden=8, out=4).apart, lambda: (_image()[:, 0],)),
    ],
)
def test_the_other_networks_are_one_graph(
    network: Callable[..., object], inputs: Callable[[], tuple[Tensor, ...]]
) -> None:
    compiled = torch.compile(network, fullgraph=True, backend="eager", dynamic=False)
    torch.manual_seed(0)
    expected = network(*inputs())
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(*inputs()), expected, rtol=0, atol=0)


def test_a_v_net_exports_with_its_prediction() -> None:
    network, x = _vnet(distance=True).eval(), _image()
    with torch.no_grad():
        found = torch.export.export(network, (x,)).module()(x)
        expected = network(x)
    assert isinstance(found, Prediction)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.distance, expected.distance)


def test_a_prediction_is_a_tree_of_its_maps() -> None:
    maps = Prediction(logits=torch.ones(1), distance=None, features=torch.zeros(2))
    doubled = pytree.tree_map(lambda t: 2 * t, maps)
    assert isinstance(doubled, Prediction)
    assert doubled.logits.tolist() == [2.0]
    assert (doubled.distance, doubled.dropped) == (None, None)
