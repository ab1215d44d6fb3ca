"""Perturbations of intensities."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_noise(image: Tensor, deviation: float = 0.1, limit: float = 0.2) -> Tensor:
    """eta of Eq. (5): clamp(deviation * N(0, 1), -limit, limit), shaped like ``image``."""
    return (torch.randn_like(image) * deviation).clamp_(-limit, limit)
