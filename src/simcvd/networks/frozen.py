"""Calls that train or behave only in part as they otherwise would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def frozen_call(module: nn.Module, *inputs: Tensor) -> Tensor:
    """``module(*inputs)`` whose gradient reaches the inputs but none of the parameters."""
    frozen = {name: parameter.detach() for name, parameter in module.named_parameters()}
    output: Tensor = torch.func.functional_call(module, frozen, inputs)
    return output


def scale_gradient(x: Tensor, factor: float | Tensor) -> Tensor:
    """``x`` itself, with its gradient multiplied by ``factor``."""
    if isinstance(factor, float) and factor == 1.0:
        return x
    return x * factor + x.detach() * (1.0 - factor)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """``module`` in evaluation mode: no dropout, running statistics in place of a batch's.

    Afterwards every module in it is again in the mode it was in.
    """
    modes = [(one, one.training) for one in module.modules()]
    for one, _ in modes:
        one.training = False
    try:
        yield
    finally:
        for one, training in modes:
            one.training = training
