"""Perturbations of intensities."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_noise(image: Tensor, deviation: float = 0.1, limit: float = 0.2) -> Tensor:
    """eta of Eq. (5): clamp(deviation * N(0, 1), -limit, limit), shaped like ``image``."""
    return (torch.randn_like(image) * deviation).clamp_(-limit, limit)


def draw_contrast(image: Tensor, gain: float = 0.3, shift: float = 0.3) -> tuple[Tensor, Tensor]:
    """Per patch of ``image``, a factor in 1 +- ``gain`` and an offset in +- ``shift``.

    Each ``[B, 1, 1, 1, 1]``; offsets are in the image's units, standard deviations as prepared.
    """
    drawn = torch.rand(2, len(image), 1, 1, 1, 1, device=image.device) * 2 - 1
    return 1 + gain * drawn[0], shift * drawn[1]
