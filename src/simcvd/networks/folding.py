"""Batch norms made part of the convolutions before them, for prediction."""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """``network`` in evaluation mode, without the batch norms that follow a convolution.

    They are folded into its weights wherever an `nn.Sequential` has the two side by side, so the
    answers are equal up to rounding. A network of its own, which shares whatever did not change.
    """
    shared = {id(t): t for t in (*network.parameters(), *network.buffers())}
    network = copy.deepcopy(network, shared).eval()
    for stage in network.modules():
        if not isinstance(stage, nn.Sequential):
            continue
        for (at, layer), (after, norm) in pairwise(list(stage.named_children())):
            if not isinstance(norm, nn.BatchNorm3d) or not norm.track_running_stats:
                continue
            if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d) and layer.groups == 1:
                transposed = isinstance(layer, nn.ConvTranspose3d)
                setattr(stage, at, fuse_conv_bn_eval(layer, norm, transposed))
                setattr(stage, after, nn.Identity())
    return network
