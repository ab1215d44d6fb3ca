"""Several networks, and flipped views of each window, averaged as one network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import chain, combinations
from pathlib import Path

import torch
from torch import Tensor, nn

from simcvd.inference.model import Model, load_model
from simcvd.networks.build import Factory
from simcvd.types import Prediction, SimcvdError

# What models must share for the mean of their probabilities to mean anything.
SHARED = ("channels", "class_names", "label_values", "preprocessing", "patch")


class Averaged(nn.Module):
    """The mean of the class probabilities of some networks over some flips of their input.

    axes: those of X Y Z (0, 1, 2) that are flipped. Every subset of them is one pass, so n axes
    take 2**n; what comes out is flipped back before the mean is taken.
    """

    def __init__(self, networks: Sequence[nn.Module], axes: Sequence[int] = ()) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        sizes = range(len(axes) + 1)
        self.flips = list(chain.from_iterable(combinations(axes, n) for n in sizes))

    def forward(self, x: Tensor) -> Prediction:
        """``[B, C, X, Y, Z]`` to a Prediction whose logits are the logarithm of the mean."""
        total = reduce(torch.add, self._passes(x))
        return Prediction(logits=(total / (len(self.networks) * len(self.flips))).log())

    def _passes(self, x: Tensor) -> Iterator[Tensor]:
        for network in self.networks:
            for flip in self.flips:
                dims = [axis + 2 for axis in flip]
                prediction: Prediction = network(x.flip(dims) if dims else x)
                shares = prediction.probabilities
                yield shares.flip(dims) if dims else shares


def load_models(
    paths: Sequence[Path | str],
    *,
    flip: str = "",
    device: torch.device | str = "cpu",
    network: Factory | str | None = None,
) -> Model:
    """The models of one or more folders as one.

    flip: letters of x, y and z: array axes of the network's grid (closest to right-left,
    posterior-anterior and inferior-superior) along which windows are flipped too.
    network: as `load_model` takes it. The first one's stride is used. Raises SimcvdError if the
    models differ in anything that `SHARED` names, or as `load_model` does.
    """
    axes, models = flip_axes(flip), load_members(paths, device=device, network=network)
    if len(models) == 1 and not axes:
        return models[0]
    together = Averaged([model.network for model in models], axes).eval()
    return replace(models[0], network=together)


def load_members(
    paths: Sequence[Path | str],
    *,
    device: torch.device | str = "cpu",
    network: Factory | str | None = None,
) -> list[Model]:
    """The models of one or more folders, each by itself; errors as in `load_models`.

    network: the factory they were trained with, where that was the caller's own.
    """
    if not paths:
        raise SimcvdError("no model was given; name at least one finished run")
    models = [load_model(path, device=device, network=network) for path in paths]
    for path, model in zip(paths[1:], models[1:], strict=True):
        _check_alike(paths[0], models[0], path, model)
    return models


def flip_axes(flip: str) -> list[int]:
    """Array axes 0, 1, 2 by the letters x, y, z. Raises SimcvdError for any other, or a second."""
    if not set(flip) <= set("xyz") or len(set(flip)) < len(flip):
        raise SimcvdError(f"--flip {flip}: give one or more of the letters x, y and z, once each")
    return ["xyz".index(letter) for letter in flip]


def _check_alike(first_path: Path | str, first: Model, path: Path | str, model: Model) -> None:
    for name in SHARED:
        one, other = (getattr(m.spec, name) for m in (first, model))
        if one != other:
            raise SimcvdError(
                f"{path}: its {name.replace('_', ' ')} {other} differs from that of {first_path}, "
                f"{one}. Models are averaged window by window: give models of the same classes, "
                "prepared and trained on the same data and patch, or predict with each by itself"
            )
