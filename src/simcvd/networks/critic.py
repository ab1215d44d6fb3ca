"""The critic of the adversarial methods (Zhang et al., MICCAI 2017)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn, optim

from simcvd.networks.autocast import Conv3d
from simcvd.types import IntTriple


class Critic(nn.Module):
    """Tells from an image and the maps predicted for it whether the image has a label.

    Convolutions of 4 x 4 x 4 with stride 2, each with LeakyReLU 0.2 and all but the last with
    channel dropout, then the mean over voxels and a linear layer. An axis is not halved below one
    voxel. Its weights, far more than its voxels, lie contiguous: channels last, their gradients
    would be copied over.

    Args:
        channels: of maps and image together.
        patch: voxels, which say how often each axis can be halved.
        widths: filters per convolution.
        dropout: of whole channels, while training.
    """

    def __init__(
        self,
        channels: int,
        patch: IntTriple,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        left = list(patch)
        for width in widths:
            halved = [n > 1 for n in left]
            convolution = Conv3d(
                channels,
                width,
                kernel_size=_triple(4 if h else 1 for h in halved),
                stride=_triple(2 if h else 1 for h in halved),
                padding=_triple(1 if h else 0 for h in halved),
            )
            layers += [convolution, nn.LeakyReLU(0.2), nn.Dropout3d(dropout)]
            left = [n // 2 if h else n for n, h in zip(left, halved, strict=True)]
            channels = width
        self.layers = nn.Sequential(*layers[:-1])  # no dropout after the last convolution
        self.score = nn.Linear(channels, 2)

    def forward(self, maps: Tensor, image: Tensor) -> Tensor:
        """``maps`` ``[B, M, X, Y, Z]`` and ``image`` ``[B, C, X, Y, Z]`` -> verdicts ``[B, 2]``."""
        x: Tensor = self.layers(torch.cat([maps, image], 1))
        return self.score(x.mean((2, 3, 4)))


def critic_optimizer(parameters: list[nn.Parameter]) -> optim.Adam:
    """Adam at 1e-4 throughout (Zhang et al. 2017)."""
    graph = parameters[0].is_cuda  # may hold its steps
    return optim.Adam(parameters, lr=1e-4, betas=(0.9, 0.99), fused=True, capturable=graph)


def _triple(values: Iterable[int]) -> IntTriple:
    x, y, z = values
    return x, y, z
