"""Fewer windows a scan, for a quick look; docs/speed.md says how to measure what that costs."""

from __future__ import annotations

from dataclasses import replace
from math import lcm, prod

from torch import nn

from simcvd.inference.sliding_window import Windows
from simcvd.networks.vnet import VNet
from simcvd.types import IntTriple, SimcvdError

# In one window at most; the default V-Net holds 2.7 GB of maps for it.
WHOLE_VOXELS = 2**23


def fast_windows(how: Windows, shape: IntTriple, network: nn.Module) -> Windows:
    """``how`` for a scan of ``shape`` voxels with as few windows as will do.

    The whole scan at once, padded to a size that every V-Net in ``network`` halves evenly, where
    that makes at most `WHOLE_VOXELS`; else windows that overlap only where the last one meets
    the border.
    """
    divisors = [module.divisor for module in network.modules() if isinstance(module, VNet)]
    x, y, z = (_up(n, lcm(*(d[axis] for d in divisors))) for axis, n in enumerate(shape))
    patch = (x, y, z) if prod((x, y, z)) <= WHOLE_VOXELS else how.patch
    return replace(how, patch=patch, stride=patch)


def refuse_both(fast: bool, stride: IntTriple | None) -> None:
    """SimcvdError if a stride is asked for, too: the fast mode chooses its own."""
    if fast and stride is not None:
        raise SimcvdError("--fast chooses the stride itself; give either --fast or --stride")


def _up(n: int, step: int) -> int:
    return -(-n // step) * step
