"""A residual U-Net with instance norms and deep supervision (Isensee et al. 2024, ResEnc).

The encoder of nnU-Net's newer presets: residual blocks after He et al. (2016), the shortcut of a
block that halves its map averaged first (ResNet-D), one convolution a decoder stage, and class
heads on the coarser decoder maps while it trains.
"""

from __future__ import annotations

import dataclasses
from math import prod
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from simcvd.networks.base import Architecture, Staged, divisor_of
from simcvd.ranges import BelowOne, Range
from simcvd.types import IntTriple, Prediction, SimcvdError

SLOPE = 0.01  # of the leaky ReLU


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResidualUNetConfig(Architecture):
    """Settings of `ResidualUNet`; the widths are those of the benchmark's V-Net."""

    name: ClassVar[str] = "residual_unet"
    title: ClassVar[str] = "Residual U-Net"
    window_maps: ClassVar[int] = 6

    blocks: Annotated[tuple[int, ...], Range(least=1)] = (1, 2, 2, 2, 2)
    """Residual blocks of each encoder stage, two convolutions each."""
    dropout: BelowOne = 0.0
    """Share of the bottleneck's channels that training drops."""
    supervised: Annotated[int, Range(least=1)] = 3
    """Decoder maps, from the finest, that learn the labels: 1 is without deep supervision."""

    def misfit(self, patch: IntTriple) -> str:
        """An instance norm needs more than one voxel on the coarsest map, too."""
        if not (found := super().misfit(patch)) and self.voxels(patch)[-1] < 2:
            return "one voxel is left on the coarsest map, which has no variance; take fewer stages"
        return found

    def build(self, *, channels: int, classes: int, distance: bool) -> ResidualUNet:
        """A fresh network of these settings."""
        return ResidualUNet(channels, classes, config=self, distance=distance)

    def kept(self, patch: IntTriple, channels: int) -> int:
        """Two maps a convolution (its result, and that after norm and activation), so four a block;
        a shortcut's result and what it averaged; the decoder's are concatenated first.
        """
        maps, widths = self.maps(patch), self.widths
        encoder = 2 * maps[0] + sum(4 * b * m for b, m in zip(self.blocks, maps, strict=True))
        shortcuts = sum(
            m + m * before // width
            for m, before, width in zip(maps[1:], widths, widths[1:], strict=False)
            if before != width
        )
        return encoder + shortcuts + sum(4 * m for m in maps[:-1]) + channels * prod(patch)

    def parameters(self, channels: int, classes: int) -> int:
        """Counted layer by layer."""
        count, before = 27 * channels * self.widths[0], self.widths[0]
        for width, blocks in zip(self.widths, self.blocks, strict=True):
            count += 27 * (before * width + (2 * blocks - 1) * width**2)
            count += before * width * (before != width)
            before = width
        for fine, coarse, stride in zip(self.widths, self.widths[1:], self.strides, strict=False):
            count += prod(stride) * fine * coarse + 27 * 2 * fine**2
        heads = self.widths[1 : min(self.supervised, len(self.strides))]
        return count + self.widths[0] * (2 * classes - 1) + classes * sum(heads)


def _kernel(channels_in: int, channels_out: int, stride: IntTriple = (1, 1, 1)) -> nn.Conv3d:
    return nn.Conv3d(channels_in, channels_out, 3, stride=stride, padding=1)


def _convolved(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.InstanceNorm3d(channels, affine=True), _activation())


def _activation() -> nn.LeakyReLU:
    return nn.LeakyReLU(SLOPE, inplace=True)


class Block(nn.Module):
    """Two convolutions beside a shortcut: ``[B, in, X, Y, Z]`` to ``[B, out, X', Y', Z']``."""

    def __init__(self, channels_in: int, channels_out: int, stride: IntTriple) -> None:
        super().__init__()
        halves = stride != (1, 1, 1)
        self.layers = nn.Sequential(
            *_convolved(_kernel(channels_in, channels_out, stride), channels_out),
            _kernel(channels_out, channels_out),
            nn.InstanceNorm3d(channels_out, affine=True),
        )
        shortcut: list[nn.Module] = [nn.AvgPool3d(stride)] if halves else []
        if channels_in != channels_out:
            norm = nn.InstanceNorm3d(channels_out, affine=True)
            shortcut += [nn.Conv3d(channels_in, channels_out, 1), norm]
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = _activation()

    def forward(self, x: Tensor) -> Tensor:
        """``x``: sizes that the stride divides."""
        y: Tensor = self.activation(self.layers(x) + self.shortcut(x))
        return y


class ResidualUNet(Staged):
    """Encoder of residual blocks, decoder with concatenated skips, heads as `VNet` has them.

    While it trains the coarser decoder maps have class heads, too: `Prediction.auxiliary`. Without
    a distance head and with the default settings it has 9,814,790 parameters for one channel and
    two classes.

    Args:
        channels: C, image channels.
        classes: K, background included.
        config: its sizes.
        distance: add the distance head, a 1x1x1 convolution and tanh.

    Examples:
        >>> config = ResidualUNetConfig(widths=(4, 8), blocks=(1, 1), strides=((2, 2, 2),))
        >>> ResidualUNet(1, 3, config=config)(torch.zeros(1, 1, 8, 8, 4)).logits.shape
        torch.Size([1, 3, 8, 8, 4])
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        config: ResidualUNetConfig | None = None,
        distance: bool = False,
    ) -> None:
        super().__init__()
        config = config or ResidualUNetConfig()
        widths, self.widths = config.widths, config.widths
        self.divisor = divisor_of(config.strides)
        self.stem = _convolved(_kernel(channels, widths[0]), widths[0])
        inputs, strides = (widths[0], *widths), ((1, 1, 1), *config.strides)
        self.encoder = nn.ModuleList(
            nn.Sequential(Block(a, b, s), *(Block(b, b, (1, 1, 1)) for _ in range(n - 1)))
            for a, b, s, n in zip(inputs, widths, strides, config.blocks, strict=False)
        )
        pairs = list(zip(widths, widths[1:], config.strides, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, s, stride=s) for a, b, s in pairs)
        self.decoder = nn.ModuleList(_convolved(_kernel(2 * a, a), a) for a, _, _ in pairs)
        self.dropout = nn.Dropout3d(config.dropout)
        self.class_head = nn.Conv3d(widths[0], classes, 1)
        coarser = widths[1 : min(config.supervised, len(pairs))]
        self.auxiliary_heads = nn.ModuleList(nn.Conv3d(width, classes, 1) for width in coarser)
        self.distance_head = nn.Conv3d(widths[0], classes - 1, 1) if distance else None

    def forward(self, x: Tensor) -> Prediction:
        """``x``: ``[B, C, X, Y, Z]``, each size a multiple of ``divisor``."""
        *skips, features = self.encode(x)
        dropped = self.dropout(features)
        *coarser, x = self._expand(dropped, skips)
        auxiliary: tuple[Tensor, ...] = ()
        if self.training:
            heads = zip(self.auxiliary_heads, coarser[::-1], strict=False)
            auxiliary = tuple(head(at) for head, at in heads)
        return Prediction(
            logits=self.class_head(x),
            distance=None if self.distance_head is None else self.distance_head(x).tanh(),
            features=features,
            dropped=dropped,
            auxiliary=auxiliary,
        )

    def encode(self, x: Tensor) -> list[Tensor]:
        """The map of each encoder stage, the finest first; see ``forward`` for ``x``."""
        self.check_size(x)
        if prod(x.shape[2:]) == prod(self.divisor):
            raise SimcvdError(
                f"ResidualUNet: a patch of {tuple(x.shape[2:])} voxels leaves one voxel on the "
                "coarsest map, which has no variance; give a larger one, or fewer stages"
            )
        x, maps = self.stem(x), []
        for stage in self.encoder:
            x = stage(x)
            maps.append(x)
        return maps

    def decode(self, maps: list[Tensor], stages: int | None = None) -> Tensor:
        """The map after the first ``stages`` decoder stages, or all; see `Staged`."""
        *skips, features = maps
        return [features, *self._expand(self.dropout(features), skips)[:stages]][-1]

    def _expand(self, x: Tensor, skips: list[Tensor]) -> list[Tensor]:
        """The map of each decoder stage, the coarsest first."""
        maps = []
        for stage, up, skip in list(zip(self.decoder, self.up, skips, strict=True))[::-1]:
            x = stage(torch.cat([up(x), skip], 1))
            maps.append(x)
        return maps
