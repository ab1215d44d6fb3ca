"""Batch norms and ReLUs made part of the convolutions before them, for prediction."""

from __future__ import annotations

import copy
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from simcvd.networks.autocast import Conv3d, half_on_cpu
from simcvd.networks.fast.products import Grow


def folded(network: nn.Module) -> nn.Module:
    """``network`` in evaluation mode, without the batch norms that follow a convolution.

    They are folded into its weights wherever an `nn.Sequential` has the two side by side, so the
    answers are equal up to rounding. A ReLU after one of simcvd's own convolutions is done by it
    (`Rectified`). A network of its own, which shares whatever did not change.
    """
    network = sharing(network).eval()
    for stage in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
        _fold_norms(stage)
        _join_activations(stage)
    return network


def sharing(network: nn.Module) -> nn.Module:
    """A copy whose layers may be exchanged, of the very same parameters and buffers."""
    shared = {id(t): t for t in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)


class Rectified(nn.Module):
    """A convolution and its ReLU, without gradients: one kernel in half precision on a CPU.

    It is the kernel that torch's compiler calls there, with the same answer bit for bit; maps are
    passed over once less, and weights are rounded once instead of at each call.
    """

    def __init__(self, convolution: Conv3d | Grow) -> None:
        super().__init__()
        self.convolution = convolution
        self._rounded: tuple[Tensor, Tensor | None] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, X, Y, Z]`` to what the convolution makes of it."""
        layer = self.convolution
        in_float32 = isinstance(layer, Conv3d) and not layer.computes_in_half(x)
        plain = in_float32 or not half_on_cpu(x) or torch.is_grad_enabled()
        half = torch.get_autocast_dtype("cpu")
        if plain or not _has_kernels(half):
            return layer(x).relu_()
        if self._rounded is None:
            self._rounded = (
                layer.weight.to(half),
                None if layer.bias is None else layer.bias.to(half),
            )
        weight, bias = self._rounded
        kernel, sizes = torch.ops.mkldnn._convolution_pointwise, [layer.padding]
        if isinstance(layer, Grow):
            kernel = torch.ops.mkldnn._convolution_transpose_pointwise
            sizes.append(layer.output_padding)
        sizes += [layer.stride, layer.dilation]
        y: Tensor = kernel(x.to(weight.dtype), weight, bias, *sizes, layer.groups, "relu", [], "")
        return y


@cache
def _has_kernels(half: torch.dtype) -> bool:
    """Whether torch has the two operators, which are private, and this processor computes them."""
    x, weight = torch.ones(1, 1, 2, 2, 2, dtype=half), torch.full((1, 1, 1, 1, 1), -1.0, dtype=half)
    sizes, ops = [[0] * 3, [1] * 3, [1] * 3], torch.ops.mkldnn
    try:
        down = ops._convolution_pointwise(x, weight, None, *sizes, 1, "relu", [], "")
        sizes.insert(1, [0] * 3)
        up = ops._convolution_transpose_pointwise(x, weight, None, *sizes, 1, "relu", [], "")
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return not down.any() and not up.any() and down.shape == up.shape == x.shape


def _fold_norms(stage: nn.Sequential) -> None:
    for (at, layer), (after, norm) in pairwise(list(stage.named_children())):
        if not isinstance(norm, nn.BatchNorm3d) or not norm.track_running_stats:
            continue
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d) and layer.groups == 1:
            transposed = isinstance(layer, nn.ConvTranspose3d)
            setattr(stage, at, fuse_conv_bn_eval(layer, norm, transposed))
            setattr(stage, after, nn.Identity())


def _join_activations(stage: nn.Sequential) -> None:
    layers = [c for c in stage.named_children() if not isinstance(c[1], nn.Identity)]
    for (at, layer), (after, activation) in pairwise(layers):
        if isinstance(layer, Conv3d | Grow) and isinstance(activation, nn.ReLU):
            setattr(stage, at, Rectified(layer))
            setattr(stage, after, nn.Identity())
