"""Small stand-ins with which the terms of a method can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from simcvd.networks.vnet import VNet
from simcvd.types import Batch, Prediction, Progress, Task

PATCH = (8, 8, 4)
TASK = Task(channels=1, classes=2, patch=PATCH)
START, END = Progress(step=0, total=100), Progress(step=100, total=100)


class Fixed(nn.Module):
    """Answers every voxel with the same class scores and distance; remembers what it was shown."""

    def __init__(self, scores: Sequence[float], distance: float = 0.0) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor(scores))
        self.distance = nn.Parameter(torch.tensor(distance))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Prediction:
        self.seen.append(x)
        size = (len(x), 1, *x.shape[2:])
        logits = self.scores.view(1, -1, 1, 1, 1).expand(size[0], -1, *size[2:])
        distance = self.distance.expand(size[0], len(self.scores) - 1, *size[2:])
        return Prediction(logits=logits, distance=distance, features=x)


def build(*, distance: bool = False, features: bool = False) -> nn.Module:
    """A V-Net of three stages for the patches of ``batch``; it gives features asked or not."""
    return VNet(
        1, 2, distance=distance, widths=(4, 4, 8), blocks=(1, 1, 1), strides=((2, 2, 2),) * 2
    )


def batch() -> Batch:
    """Two labelled and two unlabelled patches of noise, the labelled ones all background."""
    return Batch(
        image=torch.randn(4, 1, *PATCH),
        label=torch.zeros(2, *PATCH, dtype=torch.int64),
        distance=torch.ones(2, 1, *PATCH),
        cases=tuple("abcd"),
    )


def trained_by(term: Tensor, module: nn.Module) -> set[str]:
    """The parameters of ``module`` that ``term`` has a gradient for, by name."""
    named = dict(module.named_parameters())
    wanted = {name: p for name, p in named.items() if p.requires_grad}
    gradients = torch.autograd.grad(
        term, list(wanted.values()), retain_graph=True, allow_unused=True
    )
    return {name for name, g in zip(wanted, gradients, strict=True) if g is not None and g.any()}


class Brightness(nn.Module):
    """The probability of class 1 is the voxel's value, kept within 0.01 and 0.99.

    It takes a gradient, by a factor of 1, and remembers what it was shown and in which mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.seen: list[Tensor] = []
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Prediction:
        self.seen.append(x)
        self.modes.append(self.training)
        p = (self.factor * x).clamp(0.01, 0.99)
        logits = torch.cat([(1 - p).log(), p.log()], 1)
        return Prediction(logits=logits, distance=None, features=x)
