"""Losses in float32, whatever the networks run in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def float32(loss: Callable[P, R]) -> Callable[P, R]:
    """Run ``loss`` outside autocast with its half-precision tensors cast to float32.

    Casting alone is not enough: inside autocast a matrix product of float32 tensors is still
    done in half precision.
    """

    @wraps(loss)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return loss(*map(_single, args), **{k: _single(v) for k, v in kwargs.items()})  # type: ignore[arg-type]

    return wrapped


def _single(value: object) -> object:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value  # type: ignore[attr-defined]
