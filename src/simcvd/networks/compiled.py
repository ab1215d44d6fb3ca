"""Networks compiled for a GPU, where the compiler can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from simcvd.networks.base import Staged


def compile_networks(root: nn.Module) -> None:
    """Have every `Staged` network in ``root`` compiled at its first call, a graph for each shape.

    Weights, names and copies stay what they are. Torch's TORCH_COMPILE_DISABLE=1 turns it off.
    """
    for module in root.modules():
        if isinstance(module, Staged):
            module.compile(backend=compiled_or_plain, dynamic=False)


def compiled_or_plain(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """A backend of torch.compile: its own, or the graph as it is, said once a graph, if that fails.

    It does without a C++ compiler, without Triton, and on a GPU that Triton does not know.
    """
    try:
        compiled: Callable[..., Any] = torch._dynamo.lookup_backend("inductor")(graph, inputs)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(f"\nnote: torch cannot compile the network here and runs it as it is ({reason})")
        return graph.forward
    return compiled
