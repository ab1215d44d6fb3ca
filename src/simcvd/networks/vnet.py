"""The V-Net of the left-atrium benchmark (Milletari et al. 2016, as trained by Yu et al. 2019).

No residuals inside a stage and additive skips between encoder and decoder, unlike the
original V-Net and MONAI's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import prod
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from simcvd.networks.base import Architecture, Staged, divisor_of
from simcvd.ranges import BelowOne, Range
from simcvd.types import IntTriple, Prediction, SimcvdError


@dataclasses.dataclass(frozen=True, kw_only=True)
class VNetConfig(Architecture):
    """Settings of `VNet`; the defaults are the benchmark's."""

    name: ClassVar[str] = "vnet"
    title: ClassVar[str] = "V-Net"
    window_maps: ClassVar[int] = 5  # measured: its skip and what its first stage works on

    blocks: Annotated[tuple[int, ...], Range(least=1)] = (1, 2, 3, 3, 3)
    """Convolutions of each stage; the decoder mirrors the encoder."""
    dropout: BelowOne = 0.5
    """Share of the channels that training drops from the bottleneck and from the last map."""

    def build(self, *, channels: int, classes: int, distance: bool) -> VNet:
        """A fresh network of these settings."""
        return VNet(channels, classes, distance=distance, **dataclasses.asdict(self))

    def kept(self, patch: IntTriple, channels: int) -> int:
        """Two maps a convolution (its result, and that after batch norm and ReLU), one for each
        sum of a skip, one for each dropout, and the patch.
        """
        maps = self.maps(patch)
        encoder = 2 * sum(b * m for b, m in zip(self.blocks, maps, strict=True))
        down = 2 * sum(maps[1:])
        decoder = sum((2 * b + 3) * m for b, m in zip(self.blocks[:-1], maps[:-1], strict=True))
        return encoder + down + decoder + maps[-1] + maps[0] + channels * prod(patch)

    def parameters(self, channels: int, classes: int) -> int:
        """Counted layer by layer."""
        count, widths, strides = 0, self.widths, self.strides
        for i, (width, layers) in enumerate(zip(widths, self.blocks, strict=True)):
            count += 27 * ((channels if i == 0 else width) + (layers - 1) * width) * width
            if i < len(strides):
                count += 2 * prod(strides[i]) * width * widths[i + 1] + 27 * layers * width**2
        return count + widths[0] * (2 * classes - 1)

    def record(self) -> dict[str, Any]:
        """Without its name, as before there was another network."""
        return dataclasses.asdict(self)


def _unit(convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [convolution, nn.BatchNorm3d(channels), nn.ReLU(inplace=True)]


def _stage(layers: int, channels_in: int, channels_out: int) -> nn.Sequential:
    """``layers`` times 3x3x3 convolution, batch norm, ReLU; the first one changes the width."""
    modules: list[nn.Module] = []
    for layer in range(layers):
        width = channels_in if layer == 0 else channels_out
        modules += _unit(nn.Conv3d(width, channels_out, 3, padding=1), channels_out)
    return nn.Sequential(*modules)


class VNet(Staged):
    """Encoder-decoder with a class head and, if asked for, a signed-distance head.

    Args:
        channels: C, image channels.
        classes: K, background included.
        distance: add the distance head, a 1x1x1 convolution and tanh (paper, Section III-C).
        widths: filters per stage, the last one being the bottleneck.
        blocks: convolutions per stage; the decoder mirrors the encoder.
        strides: down-sampling between stages, one triple fewer than ``widths``.
        dropout: of whole channels, on the bottleneck and on the last map, while training.

    The defaults have 9,448,866 parameters with one channel, two classes, no distance head.
    `simcvd.networks.fast.accelerate` makes it faster.

    Examples:
        >>> network = VNet(1, 3, widths=(4, 8), blocks=(1, 1), strides=((2, 2, 2),))
        >>> network.divisor, network(torch.zeros(1, 1, 8, 8, 4)).logits.shape
        ((2, 2, 2), torch.Size([1, 3, 8, 8, 4]))
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        distance: bool = False,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        blocks: Sequence[int] = (1, 2, 3, 3, 3),
        strides: Sequence[IntTriple] = ((2, 2, 2),) * 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not len(widths) == len(blocks) == len(strides) + 1:
            raise SimcvdError(
                f"VNet: {len(widths)} widths, {len(blocks)} blocks and {len(strides)} strides; "
                "give as many blocks as widths and one stride fewer"
            )
        self.divisor = divisor_of(strides)
        self.widths = tuple(widths)
        inputs = [channels, *widths[1:]]
        self.encoder = nn.ModuleList(map(_stage, blocks, inputs, widths))
        self.down = nn.ModuleList(
            nn.Sequential(*_unit(nn.Conv3d(a, b, s, stride=s), b))
            for a, b, s in zip(widths, widths[1:], strides, strict=False)
        )
        self.up = nn.ModuleList(
            nn.Sequential(*_unit(nn.ConvTranspose3d(b, a, s, stride=s), a))
            for a, b, s in zip(widths, widths[1:], strides, strict=False)
        )
        self.decoder = nn.ModuleList(map(_stage, blocks[:-1], widths[:-1], widths[:-1]))
        self.dropout = nn.Dropout3d(dropout)
        self.class_head = nn.Conv3d(widths[0], classes, 1)
        self.distance_head = nn.Conv3d(widths[0], classes - 1, 1) if distance else None

    def forward(self, x: Tensor) -> Prediction:
        """``x``: ``[B, C, X, Y, Z]``, each size a multiple of ``divisor``."""
        *skips, features = self.encode(x)
        dropped = self.dropout(features)
        x = self.dropout(self._expand(dropped, skips))
        distance = None if self.distance_head is None else self.distance_head(x).tanh()
        logits = self.class_head(x)
        return Prediction(logits=logits, distance=distance, features=features, dropped=dropped)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The map of each encoder stage, the finest first; see ``forward`` for ``x``."""
        self.check_size(x)
        maps = []
        for stage, down in zip(self.encoder, self.down, strict=False):
            maps.append(stage(x))
            x = down(maps[-1])
        return [*maps, self.encoder[-1](x)]

    def decode(self, maps: list[Tensor], stages: int | None = None) -> Tensor:
        """The map after the first ``stages`` decoder stages, or all; see `Staged`."""
        *skips, features = maps
        return self._expand(self.dropout(features), skips, stages)

    def _expand(self, x: Tensor, skips: list[Tensor], stages: int | None = None) -> Tensor:
        """The decoder on the deepest map and the encoder's others."""
        coarse_first = list(zip(self.decoder, self.up, skips, strict=True))[::-1]
        for stage, up, skip in coarse_first[:stages]:
            x = stage(up(x) + skip)
        return x
