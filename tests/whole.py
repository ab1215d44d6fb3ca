"""What the package does block by block, done with the whole scan in memory: what it must equal."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from simcvd.data.resample import axis_maps, resampled
from simcvd.inference.sliding_window import Windows, finished_blocks
from simcvd.types import IntTriple


def predict_probabilities(network: nn.Module, image: Tensor, how: Windows) -> Tensor:
    """Mean over windows of the class probabilities, ``[K, X, Y, Z]`` float32 on the CPU."""
    out = torch.empty(how.classes, *image.shape[1:])
    for place, block in finished_blocks(network, image, how):
        out[(slice(None), *place)] = block
    return out


def to_source(
    probabilities: np.ndarray,
    affine: np.ndarray,
    source_shape: IntTriple,
    source_affine: np.ndarray,
) -> np.ndarray:
    """Classes ``[X, Y, Z]`` in the source's grid from ``[K, X', Y', Z']`` on the network's.

    Each class's probability is resampled linearly, then the most probable class is taken.
    """
    maps = axis_maps(source_affine, affine)
    shares = [resampled(np.asarray(p, np.float32), source_shape, maps) for p in probabilities]
    return np.argmax(shares, 0).astype(np.uint8)
