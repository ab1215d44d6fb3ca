"""Torch's convolutions exchanged for those that compute the same sooner, or rightly."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from simcvd.networks.autocast import Conv3d
from simcvd.networks.fast.folding import folded, sharing
from simcvd.networks.fast.products import Grow, Pointwise
from simcvd.networks.fast.winograd import Convolution

ONE, THREE = (1, 1, 1), (3, 3, 3)
OURS = (Conv3d, Convolution, Grow, Pointwise)


def accelerate(network: nn.Module, *, training: bool) -> nn.Module:
    """``network`` with the layers that are fastest, its state dict and its answers as they were.

    Exchanged are torch's own layers only, where they lie: 3x3x3 convolutions (Winograd's way where
    it pays), 1x1x1 ones and up-sampling (products of matrices), and every other convolution whose
    gradient torch gets wrong on small maps in bfloat16 on a CPU. A layer of a class derived from
    torch's stays what it is. Weights come to lie channels last, in which a CPU, and a GPU in half
    precision, convolves about twice as fast.

    With ``training`` it is the network itself; without, one for prediction that shares its
    weights, with batch norms and ReLUs made part of the convolutions before them.
    """
    for layer in network.modules():
        if kind := _better(layer):
            layer.__class__ = kind  # parameters, hooks and what else refers to it stay
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network if training else folded(network)


def plain(network: nn.Module) -> nn.Module:
    """A network of torch's own layers that shares the weights: exporters cannot follow ours."""
    network = sharing(network)
    for layer in network.modules():
        if type(layer) in OURS:
            up = isinstance(layer, nn.ConvTranspose3d)
            layer.__class__ = nn.ConvTranspose3d if up else nn.Conv3d
    return network


def is_accelerated(network: nn.Module) -> bool:
    """Whether no convolution is left whose gradient may be wrong in bfloat16 on a CPU."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, _ConvNd)]
    return all(isinstance(layer, OURS) for layer in convolutions)


def _better(layer: nn.Module) -> type[nn.Module] | None:
    """The class whose layers compute what this one does; None for one that is left alone."""
    if type(layer) is nn.ConvTranspose3d:
        blocks = layer.kernel_size == layer.stride and layer.bias is not None
        return Grow if blocks and _is_plain(layer) and layer.padding == (0, 0, 0) else None
    if type(layer) is not nn.Conv3d or layer.padding_mode != "zeros":
        return None
    moves = (layer.kernel_size, layer.padding, layer.stride)
    if _is_plain(layer) and moves == (THREE, ONE, ONE):
        return Convolution
    if _is_plain(layer) and moves == (ONE, (0, 0, 0), ONE):
        return Pointwise
    return None if isinstance(layer.padding, str) else Conv3d


def _is_plain(layer: nn.Conv3d | nn.ConvTranspose3d) -> bool:
    extra = layer.output_padding if isinstance(layer, nn.ConvTranspose3d) else (0, 0, 0)
    return layer.groups == 1 and layer.dilation == ONE and extra == (0, 0, 0)
