"""Training from the weights of another model: a run's base, or what ``--init`` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from simcvd.files import write_json
from simcvd.inference.model import Model, load_model, save_model, weights_digest
from simcvd.networks.build import Factory
from simcvd.training.run import read_config
from simcvd.types import SimcvdError
from simcvd.wording import counted

# Layers whose shape follows the classes: they may stay fresh where these differ.
HEADS = ("class_head", "distance_head", "auxiliary_heads")
# Arguments of a network that leave every other weight's shape as it is.
FREE = {"classes", "distance", "dropout"}


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights to begin with. digest: their SHA-256. path: where they lie, for messages."""

    model: Model
    digest: str
    path: Path


def read_start(path: Path, network: Factory | None = None) -> Start:
    """The weights of a finished run or of an exported model.

    network: the factory it was trained with, where that was the caller's own. Raises SimcvdError
    as `load_model` does.
    """
    model = load_model(path, network=network)
    return Start(model=model, digest=weights_digest(path), path=path)


def load_starts(
    networks: Sequence[nn.Module], starts: Sequence[Start], arguments: Mapping[str, Any]
) -> str:
    """Copy each start into the network of the same place; returns what stayed fresh, or "".

    arguments: those of `build_network` that the networks were made with. Networks beyond the
    starts, heads of another number of classes, and a distance head that the model has not, stay as
    they are. Raises SimcvdError for a network of another shape, and for more starts than networks.
    """
    if len(starts) > len(networks):
        raise SimcvdError(
            f"--init names {counted(len(starts), 'model')}, and the method has "
            f"{counted(len(networks), 'network')} to start from them; name no more than that"
        )
    fresh: dict[str, str] = {}
    for network, start in zip(networks, starts, strict=False):
        fresh |= _load(network, start, arguments)
    said = [f"{head} starts fresh: it {why}" for head, why in sorted(fresh.items())]
    if len(starts) < len(networks):
        left = counted(len(networks) - len(starts), "network")
        said.append(f"{left} of {len(networks)} starts fresh: --init names no model for it")
    return "; ".join(said)


def _load(network: nn.Module, start: Start, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Copy the weights that fit; the heads that stay as they are, and why."""
    _refuse_others(start, arguments)
    weights, fitting, fresh = start.model.network.state_dict(), {}, {}
    for name, value in network.state_dict().items():
        if name in weights and weights[name].shape == value.shape:
            fitting[name] = weights[name]
        else:
            fresh[name] = _why(name, value, weights)
    foreign = [name for name in fresh if not name.startswith(HEADS)]
    if foreign:
        raise SimcvdError(
            f"--init {start.path}: {foreign[0]} {fresh[foreign[0]]}; give a model of the same "
            "network, or train from fresh weights without --init"
        )
    network.load_state_dict(fitting, strict=False)
    return {name.partition(".")[0]: why for name, why in fresh.items()}


def average_runs(runs: Sequence[Path], out: Path) -> None:
    """Write the mean of the weights of finished runs as a run of its own, of the first's network.

    Running statistics are averaged with the weights; a head that only the others have is left out.
    The record is the first run's, with the digests of all. Raises SimcvdError where another lacks
    a layer of the first, or has it in another shape.
    """
    starts = [read_start(run) for run in runs]
    first = starts[0]
    states = [start.model.network.state_dict() for start in starts]
    for start, state in zip(starts, states, strict=True):
        if odd := [n for n, v in states[0].items() if n not in state or state[n].shape != v.shape]:
            raise SimcvdError(
                f"{first.path} and {start.path} have no mean: {odd[0]} of the former is not in "
                "the latter, or has another shape"
            )
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }
    config = read_config(first.path)
    write_json(out / "config.json", {**config, "mean_of": [start.digest for start in starts]})
    first.model.network.load_state_dict(mean)
    save_model(out, first.model.network, first.model.spec)


def _refuse_others(start: Start, arguments: Mapping[str, Any]) -> None:
    there = {**start.model.spec.network}
    wrong = [
        f"{name}: {there.get(name)} there, {arguments.get(name)} here"
        for name in sorted({*there, *arguments} - FREE)
        if there.get(name) != arguments.get(name)
    ]
    if wrong:
        raise SimcvdError(
            f"--init {start.path} has another network:\n  "
            + "\n  ".join(wrong)
            + "\nGive those values to this training (--set network.NAME=VALUE; channels follow "
            "the scans), or train from fresh weights without --init"
        )


def _why(name: str, value: Tensor, weights: Mapping[str, Tensor]) -> str:
    if name not in weights:
        return "is not in that model"
    return f"has shape {[*weights[name].shape]} there and {[*value.shape]} here"
