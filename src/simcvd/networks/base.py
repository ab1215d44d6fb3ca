"""What a network is to the rest of the project: settings that build it, and what it can do."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn
from torch.export import register_dataclass

from simcvd.ranges import BelowOne, Range, Settings
from simcvd.types import IntTriple, Prediction, SimcvdError

register_dataclass(Prediction)  # so that torch.export takes a network that answers with one


def divisor_of(strides: Sequence[IntTriple]) -> IntTriple:
    """What each side of a patch must be a multiple of, in voxels, for all strides to divide it."""
    x, y, z = (prod(stride[axis] for stride in strides) for axis in range(3))
    return x, y, z


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture(Settings):
    """A network of stages: its settings, ``--set network.NAME=``, with which it is built.

    A subclass is found by its ``name`` (`simcvd.networks.build`).
    """

    group: ClassVar[str] = "network"
    name: ClassVar[str]
    title: ClassVar[str]
    window_maps: ClassVar[int]
    """Maps of the first stage that it holds at once while it predicts, for estimates of memory."""

    widths: Annotated[tuple[int, ...], Range(least=1)] = (16, 32, 64, 128, 256)
    """Filters of each stage, the finest first."""
    blocks: Annotated[tuple[int, ...], Range(least=1)] = (1, 1, 1, 1, 1)
    """Layers of each stage."""
    strides: Annotated[tuple[IntTriple, ...], Range(least=1)] = ((2, 2, 2),) * 4
    """Down-sampling between stages, one triple fewer than widths."""
    dropout: BelowOne = 0.0
    """Share of the channels that training drops from some of its maps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.widths) == len(self.blocks) == len(self.strides) + 1:
            raise SimcvdError(
                f"{self.title}: {len(self.widths)} widths, {len(self.blocks)} blocks and "
                f"{len(self.strides)} strides; give as many blocks as widths and one stride fewer"
            )

    @property
    def divisor(self) -> IntTriple:
        """What each side of a patch must be a multiple of, in voxels."""
        return divisor_of(self.strides)

    def misfit(self, patch: IntTriple) -> str:
        """Why the network cannot take a patch of voxels; "" where it can."""
        if any(side % step for side, step in zip(patch, self.divisor, strict=True)):
            return (
                f"each side must be a multiple of {self.divisor}, by which network.strides "
                "divide it"
            )
        return ""

    @abstractmethod
    def build(self, *, channels: int, classes: int, distance: bool) -> nn.Module:
        """A fresh network; its initial weights follow torch's seed."""

    @abstractmethod
    def kept(self, patch: IntTriple, channels: int) -> int:
        """Numbers that it keeps of one patch for the way back."""

    @abstractmethod
    def parameters(self, channels: int, classes: int) -> int:
        """Weights with a distance head; norms and biases left out."""

    def maps(self, patch: IntTriple) -> list[int]:
        """Numbers of one map of each stage."""
        return [w * n for w, n in zip(self.widths, self.voxels(patch), strict=True)]

    def voxels(self, patch: IntTriple) -> list[int]:
        """Voxels of each stage."""
        voxels = [prod(patch)]
        for stride in self.strides:
            voxels.append(voxels[-1] // prod(stride))
        return voxels

    def record(self) -> dict[str, Any]:
        """For files: what `build_network` reads back."""
        return {"name": self.name, **dataclasses.asdict(self)}


class Staged(nn.Module):
    """A network whose encoder and decoder can be called apart, stage by stage.

    widths, divisor: as its settings have them. decoder: one module a stage, the finest first.
    """

    widths: tuple[int, ...]
    divisor: IntTriple
    decoder: nn.ModuleList

    def encode(self, x: Tensor) -> list[Tensor]:
        """``[B, C, X, Y, Z]`` to the map of each encoder stage, the finest first."""
        raise NotImplementedError(f"{type(self).__name__} has no encode")

    def decode(self, maps: list[Tensor], stages: int | None = None) -> Tensor:
        """From the maps of ``encode``, the map after the first ``stages`` decoder stages, or all.

        After ``n`` stages it has ``widths[-1 - n]`` channels.
        """
        raise NotImplementedError(f"{type(self).__name__} has no decode")

    def check_size(self, x: Tensor) -> None:
        """Refuse a patch ``[B, C, X, Y, Z]`` that the strides do not divide."""
        size = tuple(x.shape[2:])
        if any(n % d for n, d in zip(size, self.divisor, strict=True)):
            raise SimcvdError(
                f"{type(self).__name__}: a patch of {size} voxels cannot be halved evenly; "
                f"each size must be a multiple of {self.divisor}"
            )


def sizes_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """An architecture's own settings among the arguments of `build_network`."""
    others = ("name", "channels", "classes", "distance")
    return {name: value for name, value in arguments.items() if name not in others}
