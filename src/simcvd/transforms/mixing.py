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

    Examples:
        >>> box = draw_box((2,), (4, 4, 4), (0.5, 0.5), torch.device("cpu"))
        >>> box.shape, box.flatten(1).sum(1)  # 2 x 2 x 2 voxels in each
        (torch.Size([2, 4, 4, 4]), tensor([8, 8]))
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

    Examples:
        >>> onto, other = torch.tensor([[1, 1, 1], [7, 8, 9]]).view(2, 1, 3, 1, 1)
        >>> paste(onto, other, other == 8).flatten()
        tensor([1, 8, 1])
    """
    return torch.where(box, other, onto)


def exchange(x: Tensor, box: Tensor) -> Tensor:
    """Each patch of ``x`` with the box of the one before it; the first, with that of the last.

    Every voxel of ``x`` is again somewhere in the result. Shapes as in `paste`, one box for all.

    Examples:
        >>> patches = torch.tensor([[1, 2], [3, 4]]).view(2, 2, 1, 1)
        >>> first = torch.tensor([True, False]).view(1, 2, 1, 1)
        >>> exchange(patches, first).view(2, 2)
        tensor([[3, 2],
                [1, 4]])
    """
    return paste(x, x.roll(1, 0), box)
