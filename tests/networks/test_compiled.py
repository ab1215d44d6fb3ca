"""Networks that are compiled, and run as they are where they cannot be."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.small import NETWORK
from torch import nn

from simcvd.networks import compiled
from simcvd.networks.compiled import compile_networks
from simcvd.networks.vnet import VNet


class Two(nn.Module):
    """As a method holds a network and its average."""

    def __init__(self) -> None:
        super().__init__()
        self.network = VNet(
            1, 2, widths=NETWORK.widths, blocks=NETWORK.blocks, strides=NETWORK.strides
        )
        self.teacher = copy.deepcopy(self.network)
        self.head = nn.Linear(2, 2)


def test_a_network_that_cannot_be_compiled_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(graph: object, inputs: object) -> object:
        raise RuntimeError("no compiler here\nand a long trace")

    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda name: broken)
    torch.compiler.reset()
    both, x = Two(), torch.randn(2, 1, 16, 16, 8)
    plain = copy.deepcopy(both)
    before = both.state_dict().keys()
    compile_networks(both)
    torch.manual_seed(0)
    found = both.network(x).logits
    torch.manual_seed(0)
    assert torch.equal(found, plain.network(x).logits)
    found.sum().backward()
    assert both.network.class_head.weight.grad is not None
    assert "runs it as it is (no compiler here)\n" in capsys.readouterr().out
    assert both.state_dict().keys() == before


def test_every_v_net_is_handed_to_the_compiler_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs: list[object] = []

    def count(graph: torch.fx.GraphModule, inputs: object) -> object:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiled, "compiled_or_plain", count)
    torch.compiler.reset()
    both, x = Two(), torch.randn(2, 1, 16, 16, 8)
    compile_networks(both)
    both.head(torch.ones(1, 2))
    assert not graphs
    both.network(x), both.network(x + 1)
    assert len(graphs) == 1
    torch.compiler.reset()  # or that graph would serve the other one, too
    both.teacher(x)
    assert len(graphs) == 2
    torch.compiler.reset()
    copy.deepcopy(both.network)(x)  # of the weights, to run as it is
    assert len(graphs) == 2
