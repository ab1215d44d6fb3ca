"""The network that a description names: the V-Net, or what a caller's own factory makes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from simcvd.networks.vnet import VNet
from simcvd.types import Prediction, SimcvdError

DEEPEST, MOST_LAYERS, MOST_CLASSES = 12, 200, 256  # the paper's V-Net: 5, 12 and 2


class Factory(Protocol):
    """A function or class that makes any network of image channels C and classes K.

    The network maps ``[B, C, X, Y, Z]`` to a `Prediction`. ``distance`` asks for the F signed
    distance maps; without it they may be None.
    """

    def __call__(self, *, channels: int, classes: int, distance: bool) -> nn.Module:
        """A fresh network; its initial weights follow torch's seed."""
        ...


@dataclass(frozen=True, kw_only=True)
class CustomNetwork:
    """Takes the place of a `NetworkConfig` where the network is the caller's own."""

    factory: Factory


def build_network(arguments: Mapping[str, Any], factory: Factory | None = None) -> nn.Module:
    """The V-Net of these arguments, or the network of the factory they name.

    arguments: channels, classes, distance, and the V-Net's sizes or ``factory``, the name of one.
    Raises SimcvdError if that factory is not given, or one is given that was not used.
    """
    named, given = arguments.get("factory"), name_of(factory) if factory else None
    if factory is None or named is None:
        if named == given:
            return VNet(**arguments)
        raise SimcvdError(
            f"its network was made by {named}, which no model file holds; give it: network={named}"
            if named
            else f"its network is simcvd's own V-Net and not of {given}; leave network out"
        )
    if _last(named) != _last(given):
        raise SimcvdError(f"its network was made by {named}, and not by {given}; give the former")
    sizes = {name: value for name, value in arguments.items() if name != "factory"}
    return factory(**sizes)


def check_sizes(arguments: Mapping[str, Any]) -> None:
    """Refuse a stranger's V-Net that would take for ever to build, whatever its weights are.

    How wide it may be its weights decide, which are in memory already.
    """
    widths, blocks = arguments.get("widths", ()), arguments.get("blocks", ())
    counts = [arguments["channels"], arguments["classes"], *widths, *blocks]
    if not all(type(n) is int and n > 0 for n in counts):
        raise SimcvdError(f"channels, classes, widths and blocks are {counts}; give whole numbers")
    if len(widths) > DEEPEST or sum(blocks) > MOST_LAYERS or arguments["classes"] > MOST_CLASSES:
        raise SimcvdError(
            f"a network of {len(widths)} stages, {sum(blocks)} layers and {arguments['classes']} "
            f"classes; up to {DEEPEST}, {MOST_LAYERS} and {MOST_CLASSES} are read"
        )


def name_of(factory: Factory) -> str:
    """Module and name of a factory; a script's own are named as when it is imported."""
    name = getattr(factory, "__qualname__", None)
    if not callable(factory) or name is None:
        raise SimcvdError(
            f"network: {factory!r} has no name to record; give a class or a function "
            "of (*, channels, classes, distance), settings inside it"
        )
    module = str(factory.__module__)
    script = getattr(sys.modules.get(module), "__file__", None) if module == "__main__" else None
    return f"{Path(script).stem if script else module}.{name}"


def check_network(
    network: nn.Module, *, channels: int, classes: int, distance: bool, patch: Sequence[int]
) -> None:
    """Refuse a network that does not answer a patch of voxels as the methods need it to."""
    training = network.training
    try:
        with torch.no_grad():
            answer = network.eval()(torch.zeros(1, channels, *patch))
    except RuntimeError as error:
        raise SimcvdError(
            f"network: cannot take a patch {[1, channels, *patch]} ({error}); "
            "make it fit, or choose another train.patch"
        ) from error
    network.train(training)
    if not isinstance(answer, Prediction):
        raise SimcvdError(
            f"network: answered with {type(answer).__name__}; return "
            "simcvd.types.Prediction(logits=..., distance=..., features=...)"
        )
    maps: dict[str, tuple[Tensor | None, int]] = {"logits": (answer.logits, classes)}
    if distance:
        maps["distance"] = (answer.distance, classes - 1)
    for name, (found, count) in maps.items():
        shape = None if found is None else [*found.shape]
        if shape != [1, count, *patch]:
            raise SimcvdError(f"network: {name} is {shape}; it must be {[1, count, *patch]}")
    if answer.features.ndim != 5:
        raise SimcvdError(
            f"network: features have shape {[*answer.features.shape]}; they must be "
            "[B, E, X', Y', Z'], the deepest map of the encoder"
        )


def _last(name: str | None) -> str:
    """The name without its module, which changes when code moves."""
    return (name or "").rpartition(".")[2]
