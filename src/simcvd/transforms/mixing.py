"""Patches made of parts of two others: CutMix (Yun et al., ICCV 2019), copy-paste."""

from __future__ import annotations

import torch
from torch import Tensor

from simcvd.types import IntTriple


def draw_box(
    count: tuple[int, ...], size: IntTriple, sides: tuple[float, float], device: torch.device
) -> Tensor:
    """Boxes at random places, ``[*count, X, Y, Z]`` bool, True inside.

    ``sides``: shortest and longest side as a share of ``size`` (X, Y, Z), drawn uniformly for
    each axis apart; at least a voxel.
    """
    boxes = torch.ones(*count, 1, 1, 1, dtype=torch.bool, device=device)
    for axis, length in enumerate(size, start=len(count)):
        share = sides[0] + (sides[1] - sides[0]) * torch.rand(*count, 1, device=device)
        side = (share * length).round().clamp_min(1)
        start = (torch.rand(*count, 1, device=device) * (length - side + 1)).floor()
        place = torch.arange(length, device=device)
        shape = [*count, 1, 1, 1]
        shape[axis] = length
        boxes = boxes & ((place >= start) & (place < start + side)).view(shape)
    return boxes


def paste(onto: Tensor, other: Tensor, box: Tensor) -> Tensor:
    """``other`` inside ``box``, ``onto`` elsewhere.

    Images ``[B, C, X, Y, Z]`` with boxes ``[B or 1, 1, X, Y, Z]``, or label maps ``[B, X, Y, Z]``
    with boxes ``[B or 1, X, Y, Z]``.
    """
    return torch.where(box, other, onto)


def exchange(x: Tensor, box: Tensor) -> Tensor:
    """Each patch of ``x`` with the box of the one before it; the first, with that of the last.

    Every voxel of ``x`` is again somewhere in the result. Shapes as in `paste`, one box for all.
    """
    return paste(x, x.roll(1, 0), box)
