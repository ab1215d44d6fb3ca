"""The network that settings or a description name: built in, another package's, or the caller's.

Another package offers its own as entry points of the group ``simcvd.networks``, each an
`Architecture`; a caller gives a function or class that makes any network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from simcvd.naming import shown
from simcvd.networks.base import Architecture, sizes_of
from simcvd.networks.fast import accelerate
from simcvd.networks.frozen import evaluating
from simcvd.networks.residual_unet import ResidualUNetConfig
from simcvd.networks.vnet import VNetConfig
from simcvd.plugins import by_reference, load, offered, reference_of
from simcvd.records import typed
from simcvd.types import Prediction, SimcvdError
from simcvd.wording import did_you_mean

GROUP = "simcvd.networks"
BUILT_IN: tuple[type[Architecture], ...] = (VNetConfig, ResidualUNetConfig)
DEEPEST, MOST_LAYERS, MOST_CLASSES = 12, 200, 256  # the paper's V-Net: 5, 12 and 2


class Factory(Protocol):
    """A function or class that makes any network of image channels C and classes K.

    The network maps ``[B, C, X, Y, Z]`` to a `Prediction`. ``distance`` asks for the F signed
    distance maps; without it they may be None. ``features`` are asked for by some methods only.
    """

    def __call__(self, *, channels: int, classes: int, distance: bool) -> nn.Module:
        """A fresh network; its initial weights follow torch's seed."""
        ...


@dataclass(frozen=True, kw_only=True)
class CustomNetwork:
    """Takes the place of an `Architecture` where the network is the caller's own."""

    factory: Factory


def networks() -> list[str]:
    """The architectures that are installed, by name."""
    return [*(kind.name for kind in BUILT_IN), *sorted(offered(GROUP))]


def architecture(name: str) -> type[Architecture]:
    """The settings of a network by its name; an unknown name is refused with the near misses."""
    for kind in BUILT_IN:
        if kind.name == name:
            return kind
    if name not in offered(GROUP):
        raise SimcvdError(f"there is no network {name!r}; {did_you_mean(name, networks())}")
    found = load(GROUP, name)
    if not (isinstance(found, type) and issubclass(found, Architecture)):
        raise SimcvdError(f"{name}: is no class derived from simcvd.networks.base.Architecture")
    return found


def described(arguments: Mapping[str, Any]) -> Architecture:
    """The settings in the arguments of `build_network`, which name no factory."""
    kind = architecture(arguments.get("name", VNetConfig.name))
    settings: Architecture = typed(kind, sizes_of(arguments), whole=False)
    return settings


def network_title(arguments: Mapping[str, Any]) -> str:
    """What the network of these arguments is called."""
    factory = arguments.get("factory")
    return factory or architecture(arguments.get("name", VNetConfig.name)).title


def build_network(arguments: Mapping[str, Any], factory: Factory | None = None) -> nn.Module:
    """The network of these arguments, accelerated.

    arguments: channels, classes, distance, and the architecture's ``name`` and settings, or
    ``factory``, the name of one. Raises SimcvdError if that factory is not given, or one is given
    that was not used.
    """
    named, given = arguments.get("factory"), name_of(factory) if factory else None
    if factory is None or named is None:
        if named == given:
            parts = {name: arguments[name] for name in ("channels", "classes")}
            built = described(arguments).build(**parts, distance=arguments.get("distance", False))
            return accelerate(built, training=True)
        raise SimcvdError(
            f"its network was made by {named}, whose code no model file holds; if you trust that, "
            f"give network={named!r} or --network {named}"
            if named
            else f"its network is simcvd's own {network_title(arguments)} and not of {given}; "
            "leave network out"
        )
    if _last(named) != _last(given):
        raise SimcvdError(f"its network was made by {named}, and not by {given}; give the former")
    sizes = {name: value for name, value in arguments.items() if name != "factory"}
    return accelerate(_made(factory, named, sizes), training=True)


def _made(factory: Factory, named: str, sizes: Mapping[str, Any]) -> nn.Module:
    """What a caller's factory makes. Raises SimcvdError where that is no network."""
    try:
        network = factory(**sizes)
    except Exception as error:  # whatever a caller's code raises
        raise SimcvdError(
            f"{named}: fails with {dict(sizes)} ({type(error).__name__}: {error}); give a class "
            "or function that takes these as keywords, and fix what it raises"
        ) from error
    if not isinstance(network, nn.Module):
        raise SimcvdError(
            f"{named}: makes a {type(network).__name__}; give one that makes a torch.nn.Module"
        )
    return network


def check_sizes(arguments: Mapping[str, Any]) -> None:
    """Refuse a stranger's network that would take for ever to build, whatever its weights are.

    How wide it may be its weights decide, which are in memory already.
    """
    widths, blocks = arguments.get("widths", ()), arguments.get("blocks", ())
    counts = [arguments["channels"], arguments["classes"], *widths, *blocks]
    if not all(type(n) is int and n > 0 for n in counts):
        raise SimcvdError(
            f"channels, classes, widths and blocks are {shown(counts)}; give whole numbers"
        )
    if len(widths) > DEEPEST or sum(blocks) > MOST_LAYERS or arguments["classes"] > MOST_CLASSES:
        raise SimcvdError(
            f"a network of {len(widths)} stages, {sum(blocks)} layers and {arguments['classes']} "
            f"classes; up to {DEEPEST}, {MOST_LAYERS} and {MOST_CLASSES} are read"
        )


def factory_of(network: Factory | str | None) -> Factory | None:
    """What a caller gives in place of a built-in network; ``package.module:Name`` is imported.

    Raises SimcvdError for a reference to nothing.
    """
    return by_reference(network) if isinstance(network, str) else network


def name_of(factory: Factory) -> str:
    """``package.module:Name`` of a factory; a script's own are named as when it is imported."""
    if not callable(factory) or not hasattr(factory, "__qualname__"):
        raise SimcvdError(
            f"network: {factory!r} has no name to record; give a class or a function "
            "of (*, channels, classes, distance), settings inside it"
        )
    return reference_of(factory)


def check_network(
    network: nn.Module,
    *,
    channels: int,
    classes: int,
    distance: bool,
    features: bool,
    patch: Sequence[int],
) -> None:
    """Refuse a network that does not answer a patch of voxels as the methods need it to."""
    try:
        with torch.no_grad(), evaluating(network):
            answer = network(torch.zeros(1, channels, *patch))
    except Exception as error:  # whatever a caller's code raises
        raise SimcvdError(
            f"network: cannot take a patch {[1, channels, *patch]} "
            f"({type(error).__name__}: {error}); "
            "make it fit, or choose another train.patch"
        ) from error
    if not isinstance(answer, Prediction):
        raise SimcvdError(
            f"network: answered with {type(answer).__name__}; return "
            "simcvd.types.Prediction(logits=..., distance=...)"
        )
    maps: dict[str, tuple[Tensor | None, int]] = {"logits": (answer.logits, classes)}
    if distance:
        maps["distance"] = (answer.distance, classes - 1)
    for name, (found, count) in maps.items():
        shape = None if found is None else [*found.shape]
        if shape != [1, count, *patch]:
            raise SimcvdError(f"network: {name} is {shape}; it must be {[1, count, *patch]}")
    if features and (answer.features is None or answer.features.ndim != 5):
        shape = None if answer.features is None else [*answer.features.shape]
        raise SimcvdError(
            f"network: features are {shape}, and the method learns from them; they must be "
            "[B, E, X', Y', Z'], the deepest map of the encoder"
        )


def _last(name: str | None) -> str:
    """The name without its module, which changes when code moves."""
    return (name or "").replace(":", ".").rpartition(".")[2]
