"""3x3x3 convolutions with half the multiplications, for float32 on a CPU.

Winograd's F(4, 3): from six samples, four outputs of a filter of three taps cost six
multiplications and not twelve (Lavin & Gray 2016, "Fast algorithms for convolutional neural
networks", with the points 0, 1, -1, 2, -2 and infinity). Along X it turns a convolution into six of
two dimensions on a map a quarter as long. For the gradient of the weights, the same is done along Y
as well, and what remains is a product of matrices. The result is torch's own up to rounding.

It moves more memory for fewer multiplications, so bfloat16 and GPUs, where memory is what is short,
keep torch's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from simcvd.networks.autocast import Conv3d, half_on_cpu

TILE, TAPS, POINTS = 4, 3, 6
ONE = 1  # the point whose number each of the four outputs has once
# A tile's six samples to the six points; three taps to them; four outputs from them.
FROM_SAMPLES = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
FROM_TAPS = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
TO_OUTPUTS = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
# Multiplications a tap and scan from which on it is the faster way (docs/speed.md).
CHANNELS, WORK = 16, 1 << 22
# Numbers worked on at a time, which a processor's last cache holds.
CONVOLUTION, GRADIENT = 1 << 22, 1 << 20


class Convolution(Conv3d):
    """A 3x3x3 convolution that keeps the size: ``[B, C, X, Y, Z]`` to ``[B, out, X, Y, Z]``."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, TAPS, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``x``: any size."""
        ours = x.device.type == "cpu" and x.dtype == torch.float32
        if not ours or half_on_cpu(x) or torch.onnx.is_in_onnx_export():
            return super().forward(x)
        y: Tensor = _Convolution.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return y


class _Convolution(torch.autograd.Function):
    """By Winograd's way where that is faster, and torch's own otherwise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        if _pays(x, weight):
            return convolve(x, weight, bias)
        return functional.conv3d(x, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        # Apart: with the bias's among them, torch's kernel of the weights' takes up to three times.
        to_bias = _sum_of_voxels(gradient) if of_bias else None
        if _pays(x, weight):
            to_x = convolve(gradient, weight.flip(2, 3, 4).transpose(0, 1)) if of_x else None
            return to_x, weight_gradient(x, gradient) if of_weight else None, to_bias
        one, zero, wanted = [1] * 3, [0] * 3, [of_x, of_weight, False]
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, one, one, one, False, zero, 1, wanted
        )
        return to_x, to_weight, to_bias


def _pays(x: Tensor, weight: Tensor) -> bool:
    out, channels = weight.shape[:2]
    return min(out, channels) >= CHANNELS and out * channels * x[0, 0].numel() >= WORK


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x`` ``[B, C, X, Y, Z]`` by ``weight`` ``[O, C, 3, 3, 3]``: ``[B, O, X, Y, Z]``."""
    x, from_samples = _channels_last(x), x.new_tensor(FROM_SAMPLES)
    batch, sx, sy, sz, channels = x.shape
    points = torch.einsum("px,ocxyz->poyzc", weight.new_tensor(FROM_TAPS), weight).movedim(-1, 2)
    biases = [bias if point == ONE else None for point in range(POINTS)]
    out = x.new_empty(batch * _tiles(sx) * TILE, sy, sz, len(weight))
    for tiles in _slabs(x, max(channels, len(weight)), CONVOLUTION):
        maps = _transform(x, from_samples, -1, tiles)
        products = [
            functional.conv2d(image.movedim(-1, 1), point, shift, padding=1).movedim(1, -1)
            for image, point, shift in zip(maps, points, biases, strict=True)
        ]
        _to_outputs(products, out[TILE * tiles.start : TILE * tiles.stop])
    return out.unflatten(0, (batch, -1))[:, :sx].contiguous().movedim(-1, 1)


def weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Of `convolve`: ``x`` ``[B, C, X, Y, Z]``, ``gradient`` ``[B, O, X, Y, Z]``, to its weight."""
    x, gradient = _channels_last(x), _channels_last(gradient)
    channels, out = x.shape[-1], gradient.shape[-1]
    from_samples = x.new_tensor(FROM_SAMPLES)
    from_outputs = x.new_tensor(TO_OUTPUTS).T.contiguous()
    sums = x.new_zeros(TAPS, POINTS**2, channels, out)
    for tiles in _slabs(x, max(channels, out) * POINTS // TILE, GRADIENT):
        ours = _transform_lines(_transform(x, from_samples, -1, tiles), from_samples, -1)
        theirs = _transform_lines(_transform(gradient, from_outputs, 0, tiles), from_outputs, 0)
        rows = theirs.shape[1] - TAPS + 1
        for tap, total in enumerate(sums):
            total.baddbmm_(ours[:, tap : tap + rows].transpose(1, 2), theirs[:, :rows])
    from_taps = x.new_tensor(FROM_TAPS)
    sums = sums.unflatten(1, (POINTS, POINTS))
    return torch.einsum("py,qx,zpqco->ocxyz", from_taps, from_taps, sums)


def _sum_of_voxels(x: Tensor) -> Tensor:
    """``[B, C, X, Y, Z]`` to ``[C]``; plane by plane as a product, where `sum` is slow."""
    planes = _channels_last(x).flatten(2, 3)
    return (x.new_ones(planes.shape[2]) @ planes).sum((0, 1))


def _channels_last(x: Tensor) -> Tensor:
    """``[B, C, X, Y, Z]`` as ``[B, X, Y, Z, C]``, in this order in memory."""
    return x.movedim(1, -1).contiguous()


def _tiles(length: int) -> int:
    return -(-length // TILE)


def _slabs(x: Tensor, channels: int, limit: int) -> Iterator[range]:
    """The tiles along X of ``x`` ``[B, X, Y, Z, C]``, as many at a time as ``limit`` allows."""
    batch, sx, sy, sz, _ = x.shape
    count = batch * _tiles(sx)
    step = max(1, limit // (POINTS * sy * sz * channels))
    return (range(at, min(at + step, count)) for at in range(0, count, step))


def _transform(x: Tensor, matrix: Tensor, start: int, tiles: range) -> Tensor:
    """``[B, X, Y, Z, C]`` to the points of tiles along X, ``[6, tiles, Y, Z, C]``.

    matrix: to the six points from a tile's samples, the first of which lies ``start`` from where
    the tile begins. Outside of X are zeros.
    """
    points = x.new_empty(POINTS, len(tiles), *x.shape[2:])
    for at, tile in enumerate(tiles):
        scan, along = divmod(tile, _tiles(x.shape[1]))
        first = TILE * along + start
        begin, end = max(first, 0), min(first + matrix.shape[1], x.shape[1])
        samples = x[scan, begin:end].flatten(1)
        torch.mm(matrix[:, begin - first : end - first], samples, out=points[:, at].flatten(1))
    return points


def _transform_lines(points: Tensor, matrix: Tensor, start: int) -> Tensor:
    """The same along Y: ``[6, T, Y, Z, C]`` to ``[36, rows, C]``, Y's points before X's.

    Rows are tiles along X, along Y, and then Z with two zeros: before and after it where
    ``start`` is -1, after it where ``start`` is 0. Two rows more are zeros, for what is shifted.
    """
    _, count, sy, sz, channels = points.shape
    rows = count * _tiles(sy) * (sz + 2)
    samples = points.new_zeros(matrix.shape[1], POINTS, rows + 2, channels)
    lines = samples[:, :, :rows].unflatten(2, (count, -1, sz + 2))[..., -start : sz - start, :]
    for at, target in enumerate(lines):
        skipped = 1 if at + start < 0 else 0  # the first tile's sample before the scan
        source = points[:, :, at + start + TILE * skipped :: TILE][:, :, : _tiles(sy) - skipped]
        target[:, :, skipped : skipped + source.shape[2]] = source
    return (matrix @ samples.flatten(1)).view(POINTS**2, rows + 2, channels)


def _to_outputs(points: list[Tensor], out: Tensor) -> None:
    """TO_OUTPUTS, of six maps ``[tiles, ...]``, which are used up, into ``out`` ``[X, ...]``."""
    zero, one, minus_one, two, minus_two, infinity = points
    even, odd = one + minus_one, one.sub_(minus_one)
    even_two, odd_two = two + minus_two, two.sub_(minus_two)
    torch.add(zero.add_(even), even_two, out=out[0::TILE])
    torch.add(odd, odd_two, alpha=2, out=out[1::TILE])
    torch.add(even, even_two, alpha=4, out=out[2::TILE])
    torch.add(infinity.add_(odd), odd_two, alpha=8, out=out[3::TILE])
