"""Schedules: plain functions of a run's progress, float in, float out."""

from __future__ import annotations

from math import cos, exp, pi
from typing import TypeVar

from torch import Tensor

Fraction = TypeVar("Fraction", float, Tensor)


def gaussian_ramp(fraction: Fraction, peak: float = 1.0) -> Fraction:
    """Psi(t) = exp(-5 (1 - t / t_max)^2), up to 1 (paper, Section IV-B).

    Args:
        fraction: t / t_max of the run's own length, clipped to [0, 1]; a scalar of a device where
            a CUDA graph holds the step.
        peak: the fraction of the run at which the ramp reaches 1.
    """
    if isinstance(fraction, Tensor):
        return (-5.0 * (1.0 - (fraction / peak).clamp(0.0, 1.0)) ** 2).exp()
    done = min(max(fraction / peak, 0.0), 1.0)
    return exp(-5.0 * (1.0 - done) ** 2)


def step_decay(step: int, every: int, factor: float = 0.1) -> float:
    """Multiplier of the learning rate: times ``factor`` after each ``every`` steps."""
    return factor ** (step // every)


def poly_decay(fraction: float, power: float = 0.9) -> float:
    """(1 - t / t_max)^power: nnU-Net's and DeepLab's multiplier of the learning rate."""
    return (1.0 - min(max(fraction, 0.0), 1.0)) ** power


def cosine_decay(fraction: float, floor: float = 0.0) -> float:
    """From 1 to ``floor`` along half a cosine (Loshchilov and Hutter, ICLR 2017, Eq. 5)."""
    done = min(max(fraction, 0.0), 1.0)
    return floor + (1.0 - floor) * (1.0 + cos(pi * done)) / 2


def warm_decay(step: int, decay: float) -> float:
    """min(1 - 1 / (t + 1), decay): the EMA follows the student closely at first.

    Yu et al. 2019. ``step`` counts from 0 and the average is taken after the update, so that
    the first call copies the student.
    """
    return min(1.0 - 1.0 / (step + 1), decay)
