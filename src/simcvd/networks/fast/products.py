"""Convolutions that are one product of a matrix of voxels by the weights, computed as such.

With channels last, the voxels of a map are the rows of that matrix. A CPU's convolutions take up to
nine times as long for the gradient of the same weights, and on one thread lose the layout
(docs/speed.md); in half precision they are the faster ones, but for the gradients of up-sampling.
The parameters are those of torch's own layers, and so is the result up to rounding. An ONNX file
gets those layers themselves, which other programs know how to run.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from simcvd.networks.autocast import half_on_cpu
from simcvd.types import IntTriple

EIGHT = 8  # a product of two columns in bfloat16 took an H200 as long as three convolutions


class Pointwise(nn.Conv3d):
    """A 1x1x1 convolution: ``[B, C, X, Y, Z]`` to ``[B, out, X, Y, Z]``."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``x``: any size."""
        if torch.onnx.is_in_onnx_export() or half_on_cpu(x):
            return super().forward(x)
        rows = x.permute(0, 2, 3, 4, 1)
        rows = self._padded(rows) if x.is_cuda else self._product(rows)
        return rows.permute(0, 4, 1, 2, 3)

    def _product(self, rows: Tensor) -> Tensor:
        return functional.linear(rows, self.weight.flatten(1), self.bias)

    def _padded(self, rows: Tensor) -> Tensor:
        """The same with as many columns as a GPU takes at once: a head's one or two cost more."""
        more = -self.out_channels % EIGHT
        weight = functional.pad(self.weight.flatten(1), (0, 0, 0, more))
        bias = None if self.bias is None else functional.pad(self.bias, (0, more))
        return functional.linear(rows, weight, bias)[..., : self.out_channels]


class Grow(nn.ConvTranspose3d):
    """Every voxel to a block of (a, b, c): ``[B, C, X, Y, Z]`` to ``[B, out, aX, bY, cZ]``."""

    def __init__(self, channels_in: int, channels_out: int, block: IntTriple) -> None:
        super().__init__(channels_in, channels_out, block, stride=block)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``x``: any size; ``output_size`` follows from it and is not looked at."""
        without_gradient = half_on_cpu(x) and not torch.is_grad_enabled()
        if torch.onnx.is_in_onnx_export() or without_gradient:
            return super().forward(x)
        weight = self.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)
        assert self.bias is not None  # torch's own default
        bias = self.bias.repeat(prod(self.stride))
        rows = functional.linear(x.permute(0, 2, 3, 4, 1), weight, bias)
        blocks = rows.unflatten(-1, (*self.stride, -1)).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return blocks.flatten(5, 6).flatten(3, 4).flatten(1, 2).permute(0, 4, 1, 2, 3)
