"""Convolutions that a CPU computes faster in another way, most of them as a product of matrices.

With channels last, the voxels of a map are the rows of a matrix. A CPU's own convolutions take up
to nine times as long for the gradient of the same weights, and on one thread lose the layout
(docs/speed.md). The parameters are those of torch's own layers, and so is the result up to
rounding. An ONNX file gets those layers themselves, which other programs know how to run.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from simcvd.types import IntTriple


class Pointwise(nn.Conv3d):
    """A 1x1x1 convolution: ``[B, C, X, Y, Z]`` to ``[B, out, X, Y, Z]``."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``x``: any size."""
        if torch.onnx.is_in_onnx_export():
            return super().forward(x)
        rows = functional.linear(x.permute(0, 2, 3, 4, 1), self.weight.flatten(1), self.bias)
        return rows.permute(0, 4, 1, 2, 3)


class Grow(nn.ConvTranspose3d):
    """Every voxel to a block of (a, b, c): ``[B, C, X, Y, Z]`` to ``[B, out, aX, bY, cZ]``."""

    def __init__(self, channels_in: int, channels_out: int, block: IntTriple) -> None:
        super().__init__(channels_in, channels_out, block, stride=block)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``x``: any size; ``output_size`` follows from it and is not looked at."""
        if torch.onnx.is_in_onnx_export():
            return super().forward(x)
        weight = self.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)
        assert self.bias is not None  # torch's own default
        bias = self.bias.repeat(prod(self.stride))
        rows = functional.linear(x.permute(0, 2, 3, 4, 1), weight, bias)
        blocks = rows.unflatten(-1, (*self.stride, -1)).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return blocks.flatten(5, 6).flatten(3, 4).flatten(1, 2).permute(0, 4, 1, 2, 3)


class Shrink(nn.Conv3d):
    """Every block of (a, b, c) voxels to one: ``[B, C, aX, bY, cZ]`` to ``[B, out, X, Y, Z]``.

    Only the gradient of the weights is a product; as a product the forward pass would keep a copy
    of the map.
    """

    def __init__(self, channels_in: int, channels_out: int, block: IntTriple) -> None:
        super().__init__(channels_in, channels_out, block, stride=block)

    def forward(self, x: Tensor) -> Tensor:
        """``x``: each size a multiple of the block's."""
        return _shrink(x, self.weight, self.bias) if _learns(x) else super().forward(x)


class Cube(nn.Conv3d):
    """A 3x3x3 convolution: ``[B, C, X, Y, Z]`` to ``[B, out, X, Y, Z]``.

    Torch's own, but for a single channel: of its weights' gradient a CPU has only a slow kernel;
    beside a channel of zeros it takes another, a third of the time.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``x``: any size."""
        if self.in_channels != 1 or not _learns(x):
            return super().forward(x)
        x, weight = (torch.cat([t, torch.zeros_like(t)], 1) for t in (x, self.weight))
        x = x.contiguous(memory_format=torch.channels_last_3d)
        return functional.conv3d(x, weight, self.bias, padding=1)


def _learns(x: Tensor) -> bool:
    """Whether the weights' gradient will be asked of a CPU in float32, where it is slow."""
    cpu = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return cpu and torch.is_grad_enabled() and not torch.onnx.is_in_onnx_export()


class _ShrinkFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv3d(x, weight, bias, stride=weight.shape[2:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride = weight.shape[2:]
        to_x = None
        if ctx.needs_input_grad[0]:
            (to_x, _, _) = torch.ops.aten.convolution_backward(
                *(gradient, x, weight, None, stride, [0] * 3, [1] * 3, False, [0] * 3, 1),
                (True, False, False),
            )
        total = weight.new_zeros(weight.shape[0], weight[0].numel())
        for patch, by_voxel in zip(x.movedim(1, -1), gradient.movedim(1, -1), strict=True):
            total.addmm_(by_voxel.flatten(0, 2).T, _blocks(patch, stride))
        to_weight = total.view(-1, *stride, x.shape[1]).movedim(-1, 1)
        return to_x, to_weight, gradient.sum((0, 2, 3, 4))


_shrink = _ShrinkFunction.apply


def _blocks(patch: Tensor, size: tuple[int, ...]) -> Tensor:
    """``[aX, bY, cZ, C]`` as one row a block, ``[XYZ, abcC]``."""
    a, b, c = size
    blocks = patch.unflatten(2, (-1, c)).unflatten(1, (-1, b)).unflatten(0, (-1, a))
    return blocks.permute(0, 2, 4, 1, 3, 5, 6).flatten(3).flatten(0, 2)
