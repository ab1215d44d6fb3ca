"""Optimisers, one a player, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn, optim

from simcvd.engine.settings import TrainConfig
from simcvd.schedules import cosine_decay, poly_decay, step_decay


def build_optimizers(
    players: dict[str, list[nn.Parameter]], config: TrainConfig
) -> dict[str, optim.Optimizer]:
    """The recipe's for networks; Adam 1e-4 for a player named "critic" (Zhang et al. 2017)."""
    return {name: _build(name, parameters, config) for name, parameters in players.items()}


def set_learning_rates(
    optimizers: dict[str, optim.Optimizer], config: TrainConfig, step: int
) -> float:
    """Give the networks their rate of this step; returns it. A critic's stays."""
    rate = config.lr * rate_factor(config, step)
    for name, optimizer in optimizers.items():
        if name != "critic":
            for group in optimizer.param_groups:
                group["lr"] = rate
    return rate


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


def clip_gradients(optimizers: Iterable[optim.Optimizer], most: float) -> None:
    """Scale each optimiser's gradients down to the norm ``most``, all its parameters together."""
    for optimizer in optimizers:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, most)


def _build(name: str, parameters: list[nn.Parameter], config: TrainConfig) -> optim.Optimizer:
    if name == "critic":
        return optim.Adam(parameters, lr=1e-4, betas=(0.9, 0.99), fused=True)
    if config.optimizer == "adamw":
        return optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    return optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        foreach=True,
    )
