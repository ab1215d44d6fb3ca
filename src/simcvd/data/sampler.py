"""Which patches make up a batch: a function of seed, step and process, with no state.

Resuming therefore needs nothing but the step, and any batch of any run can be drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from simcvd.data.cache import Cache
from simcvd.machine import free_memory
from simcvd.transforms.spatial import Augmentation, Geometry, apply_geometry, draw_geometry
from simcvd.types import Batch, IntTriple

SHARE = 0.5  # of a GPU's free memory; the rest is for the step
_LABELED, _UNLABELED, _GEOMETRY = range(3)  # independent random streams of one seed


@dataclass(frozen=True, kw_only=True)
class TwoStreams:
    """Labelled and unlabelled cases, each shuffled on its own, over and over.

    labeled, unlabeled: case names. batch: patches of each kind in a process's batch.
    rank, world: this process and how many there are; together they see one stream.
    """

    labeled: Sequence[str]
    unlabeled: Sequence[str]
    batch: tuple[int, int]
    seed: int
    rank: int = 0
    world: int = 1

    def cases(self, step: int) -> tuple[str, ...]:
        """Case names of this process's batch, labelled first."""
        labeled = self._draw(self.labeled, self.batch[0], step, _LABELED)
        return labeled + self._draw(self.unlabeled, self.batch[1], step, _UNLABELED)

    def _draw(self, names: Sequence[str], count: int, step: int, stream: int) -> tuple[str, ...]:
        first = (step * self.world + self.rank) * count
        places = (divmod(first + i, len(names)) for i in range(count))
        return tuple(
            names[_permutation(self.seed, stream, epoch, len(names))[place]]
            for epoch, place in places
        )


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, stream, epoch)).permutation(length)


class Patches:
    """Cuts batches out of prepared scans.

    On a GPU the scans stay on the device if they take at most `SHARE` of what is free there; else,
    and on a CPU, they are read through the memory map. The label and distance files of an
    unlabelled case are never opened.
    """

    def __init__(
        self,
        cache: Cache,
        streams: TwoStreams,
        patch: IntTriple,
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        self.streams, self.patch, self.augmentation = streams, patch, augmentation
        self.device = device
        self._task = cache.task_info
        used = dict.fromkeys([*streams.labeled, *(streams.unlabeled if streams.batch[1] else ())])
        cases = {name: cache.case(name) for name in used}
        images = {name: case.image for name, case in cases.items()}
        labels = {name: (cases[name].label, cases[name].distance) for name in streams.labeled}
        home = home_of((*images.values(), *chain(*labels.values())), device)
        self._images = {name: _hold(image, home) for name, image in images.items()}
        self._labels = {
            name: (_hold(label, home), _hold(distance, home))
            for name, (label, distance) in labels.items()
        }

    def batch(self, step: int) -> Batch:
        """The batch of this step, drawn anew and yet always the same."""
        names = self.streams.cases(step)
        rng = np.random.default_rng(
            (self.streams.seed, _GEOMETRY, step, self.streams.rank, self.streams.world)
        )
        geometries = [
            draw_geometry(rng, _size(self._images[name]), self.patch, self.augmentation)
            for name in names
        ]
        labeled = list(zip(names, geometries, strict=True))[: self.streams.batch[0]]
        task = self._task
        image = self._empty(len(names), task.channels, torch.float32)
        label = self._empty(len(labeled), 1, torch.int64)
        distance = self._empty(len(labeled), task.classes - 1, torch.float32)
        for i, (name, geometry) in enumerate(zip(names, geometries, strict=True)):
            self._cut(image[i], self._images[name], geometry, 0.0)
        for i, (name, geometry) in enumerate(labeled):
            label_map, distance_map = self._labels[name]
            self._cut(label[i, 0], label_map, geometry, 0)
            self._cut(distance[i], distance_map, geometry, 1.0)  # beyond the scan is outside
        return Batch(image=image, label=label[:, 0], distance=distance, cases=names)

    def padded(self) -> list[str]:
        """The scans that are smaller than the patch along some axis."""
        return [
            name
            for name, image in self._images.items()
            if any(n < p for n, p in zip(_size(image), self.patch, strict=True))
        ]

    def _cut(self, out: Tensor, volume: Tensor, geometry: Geometry, fill: float) -> None:
        out.copy_(apply_geometry(volume, geometry, self.patch, fill), non_blocking=True)

    def _empty(self, batch: int, channels: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(
            (batch, channels, *self.patch),
            dtype=dtype,
            device=self.device,
            memory_format=torch.channels_last_3d,
        )


def home_of(arrays: Iterable[np.ndarray], device: torch.device) -> torch.device:
    """Where prepared scans lie during training: on ``device``, or on the disk for the CPU."""
    if device.type == "cpu":
        return device
    fits = sum(array.nbytes for array in arrays) <= SHARE * free_memory(str(device))
    return device if fits else torch.device("cpu")


def _hold(array: np.ndarray, home: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor if home.type == "cpu" else tensor.to(home)


def _size(image: Tensor) -> IntTriple:
    x, y, z = image.shape[-3:]
    return (x, y, z)
