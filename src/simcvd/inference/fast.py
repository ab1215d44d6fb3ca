"""Fewer windows a scan, for a quick look: what it costs in Dice is in docs/speed.md."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from simcvd.inference.sliding_window import Windows
from simcvd.types import IntTriple

# One window at most; the default V-Net holds 2.7 GB of maps for it.
WHOLE_VOXELS = 2**23


def fast_windows(how: Windows, shape: IntTriple, divisor: IntTriple) -> Windows:
    """``how`` for a scan of ``shape`` voxels with as few windows as will do.

    The whole scan at once, padded to a multiple of ``divisor``, where that makes at most
    `WHOLE_VOXELS`; else windows that overlap only where the last one meets the border.
    """
    x, y, z = (-(-n // d) * d for n, d in zip(shape, divisor, strict=True))
    patch = (x, y, z) if prod((x, y, z)) <= WHOLE_VOXELS else how.patch
    return replace(how, patch=patch, stride=patch)
