"""Convolutions whose windows do not overlap, each one product of a matrix of voxels by the weights.

Their kernel is their stride: down- and up-sampling, and 1x1x1 heads. With channels last a block of
voxels is a row of that matrix, or is copied into one. A CPU's convolutions take up to nine times as
long for the gradient of the same weights, and on one thread lose the layout (docs/speed.md). The
parameters are those of torch's own layers, and so is the result up to rounding. An ONNX file gets
those layers themselves, which other programs know how to run.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from simcvd.types import IntTriple


class Shrink(nn.Conv3d):
    """``[B, C, X, Y, Z]`` to ``[B, out, X/a, Y/b, Z/c]`` for blocks of (a, b, c) voxels."""

    def __init__(self, channels_in: int, channels_out: int, block: IntTriple = (1, 1, 1)) -> None:
        super().__init__(channels_in, channels_out, block, stride=block)

    def forward(self, x: Tensor) -> Tensor:
        """``x``: each size a multiple of the block's."""
        if torch.onnx.is_in_onnx_export():
            return super().forward(x)
        (a, b, c), last = self.stride, x.permute(0, 2, 3, 4, 1)
        blocks = last.unflatten(3, (-1, c)).unflatten(2, (-1, b)).unflatten(1, (-1, a))
        rows = blocks.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)
        weight = self.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return functional.linear(rows, weight, self.bias).permute(0, 4, 1, 2, 3)


class Grow(nn.ConvTranspose3d):
    """``[B, C, X, Y, Z]`` to ``[B, out, aX, bY, cZ]`` for blocks of (a, b, c) voxels."""

    def __init__(self, channels_in: int, channels_out: int, block: IntTriple) -> None:
        super().__init__(channels_in, channels_out, block, stride=block)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``x``: any size; ``output_size`` follows from it and is not looked at."""
        if torch.onnx.is_in_onnx_export():
            return super().forward(x)
        weight = self.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)
        assert self.bias is not None  # torch's own default
        bias = self.bias.repeat(prod(self.stride))
        blocks = functional.linear(x.permute(0, 2, 3, 4, 1), weight, bias)
        blocks = blocks.unflatten(-1, (*self.stride, -1)).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return blocks.flatten(5, 6).flatten(3, 4).flatten(1, 2).permute(0, 4, 1, 2, 3)
