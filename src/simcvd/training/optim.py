"""Optimisers, one a player, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn, optim

from simcvd.methods.base import Method
from simcvd.schedules import cosine_decay, poly_decay, step_decay
from simcvd.training.numbers import Number
from simcvd.training.settings import TrainConfig


def build_optimizers(method: Method, config: TrainConfig) -> dict[str, optim.Optimizer]:
    """One a player: the method's own, or else what the settings say."""
    own = method.optimizers()
    return {
        name: own[name](parameters) if name in own else run_optimizer(parameters, config)
        for name, parameters in method.players().items()
    }


def set_learning_rates(
    optimizers: Mapping[str, optim.Optimizer], rate: Number, fixed: Collection[str] = ()
) -> None:
    """Give the players this rate, but those in ``fixed``."""
    for name, optimizer in optimizers.items():
        if name not in fixed:
            for group in optimizer.param_groups:
                group["lr"] = rate


def rate_at(config: TrainConfig, step: int) -> float:
    """The learning rate of this step."""
    return config.lr * rate_factor(config, step)


def rate_factor(config: TrainConfig, step: int) -> float:
    """What the first learning rate is multiplied by at ``step``: warm-up, then the schedule."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / (config.iterations - config.warmup)
    if config.schedule == "cosine":
        return cosine_decay(done, config.floor)
    if config.schedule == "poly":
        return max(poly_decay(done), config.floor)
    if config.schedule == "constant":
        return 1.0
    return step_decay(step, config.lr_every or math.ceil(config.iterations / 2))


def restore_optimizer(optimizer: optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a checkpoint's state; how steps are computed stays as it is built here."""
    ways: list[dict[str, Any]] = [
        {way: group[way] for way in ("foreach", "fused", "capturable") if way in group}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, way in zip(optimizer.param_groups, ways, strict=True):
        group.update(way)
    _begin_momentum(optimizer)


def step_unless(found: Tensor, optimizers: Iterable[optim.Optimizer]) -> None:
    """Step, but where the scalar ``found`` is not 0 change no parameter and no state.

    On a GPU fused optimisers look at it there, and nothing is waited for.
    """
    for optimizer in optimizers:
        if found.device.type != "cpu" and getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.found_inf = found  # type: ignore[attr-defined]
        elif found:
            continue
        optimizer.step()


def clip_gradients(optimizers: Iterable[optim.Optimizer], most: float) -> None:
    """Scale each optimiser's gradients down to the norm ``most``, all its parameters together."""
    for optimizer in optimizers:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, most)


def run_optimizer(parameters: list[nn.Parameter], config: TrainConfig) -> optim.Optimizer:
    """The one that the settings of a run name, at their first learning rate."""
    if config.optimizer == "adamw":
        return optim.AdamW(
            parameters,
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=True,
            capturable=parameters[0].is_cuda,  # by a graph
        )
    fused = parameters[0].device.type != "cpu"  # there it would round otherwise than it used to
    optimizer = optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        fused=fused,
        foreach=not fused,
    )
    _begin_momentum(optimizer)
    return optimizer


def _begin_momentum(optimizer: optim.Optimizer) -> None:
    """At 0: the first step is the same, and fused ones cannot start with some parameters only."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") and group.get("fused") else ():
            optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
