"""Optimisers, one a player, and the learning-rate schedule."""

from __future__ import annotations

import math

from torch import nn, optim

from simcvd.engine.settings import TrainConfig
from simcvd.schedules import step_decay


def build_optimizers(
    players: dict[str, list[nn.Parameter]], config: TrainConfig
) -> dict[str, optim.Optimizer]:
    """SGD for networks; Adam 1e-4 for a player named "critic" (Zhang et al. 2017)."""
    return {name: _build(name, parameters, config) for name, parameters in players.items()}


def set_learning_rates(
    optimizers: dict[str, optim.Optimizer], config: TrainConfig, step: int
) -> float:
    """Divide the networks' rate by 10 every ``lr_every`` iterations; returns that rate."""
    every = config.lr_every or math.ceil(config.iterations / 2)
    rate = config.lr * step_decay(step, every)
    for name, optimizer in optimizers.items():
        if name != "critic":
            for group in optimizer.param_groups:
                group["lr"] = rate
    return rate


def _build(name: str, parameters: list[nn.Parameter], config: TrainConfig) -> optim.Optimizer:
    if name == "critic":
        return optim.Adam(parameters, lr=1e-4, betas=(0.9, 0.99), fused=True)
    return optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        foreach=True,
    )
