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


@dataclass(frozen=True, kw_only=True)
class Views:
    """What is done to a patch on its way out of its scan.

    patch: voxels. poses: as `draw_geometry` takes them. augment: strengths of what else changes.
    foreground: chance that a labelled patch is centred on a voxel of a foreground class.
    distance, strong: whether the batch is to have distance maps, and strong views.
    """

    patch: IntTriple
    poses: Augmentation = "none"
    augment: AugmentConfig = AugmentConfig()
    foreground: float = 0.0
    distance: bool = True
    strong: bool = False


class Patches:
    """Cuts batches out of prepared scans.

    On a GPU the scans stay on the device if they take at most `SHARE` of what is free there; else,
    and on a CPU, they are read through the memory map. The label and distance files of an
    unlabelled case are never opened. targets: a folder of pseudo-labels of the unlabelled scans
    (:mod:`simcvd.inference.pseudo_labels`), or None.
    """

    def __init__(
        self,
        cache: Cache,
        streams: TwoStreams,
        views: Views,
        device: torch.device,
        targets: Path | None = None,
    ) -> None:
        self.streams, self.views, self.device = streams, views, device
        self._task, self._spacing = cache.task_info, cache.manifest.spacing
        used = dict.fromkeys([*streams.labeled, *(streams.unlabeled if streams.batch[1] else ())])
        cases = {name: cache.case(name) for name in used}
        maps = {"image": {name: case.image for name, case in cases.items()}}
        maps["label"] = {name: cases[name].label for name in streams.labeled}
        if views.distance:
            maps["distance"] = {name: cases[name].distance for name in streams.labeled}
        if targets is not None:
            maps["target"] = {n: np.load(targets / f"{n}.npy", "r") for n in streams.unlabeled}
        home = home_of(chain.from_iterable(m.values() for m in maps.values()), device)
        self._maps = {
            kind: {name: _hold(array, home) for name, array in arrays.items()}
            for kind, arrays in maps.items()
        }
        self._inside = (
            {name: foreground_voxels(label) for name, label in maps["label"].items()}
            if views.foreground
            else {}
        )

    def batch(self, step: int) -> Batch:
        """The batch of this step, drawn anew and yet always the same.

        Poses and places follow the step alone; intensities follow torch's own random state.
        """
        names = self.streams.cases(step)
        rng = np.random.default_rng(
            (self.streams.seed, _GEOMETRY, step, self.streams.rank, self.streams.world)
        )
        places = [self._place(rng, name, known=i < self._labeled) for i, name in enumerate(names)]
        cuts = list(zip(names, places, strict=True))
        known, unknown = cuts[: self._labeled], cuts[self._labeled :]
        image = self._cut("image", cuts, self._task.channels, 0.0)
        label = self._cut("label", known, 1, 0)[:, 0]
        # Beyond the scan is outside.
        distance = self._cut("distance", known, self._task.classes - 1, 1.0)
        strong, target = None, None
        if self.views.strong:
            strong = change_intensity(image[len(known) :], self.views.augment, self._spacing)
        if "target" in self._maps:
            target = self._cut("target", unknown, 1, UNKNOWN)[:, 0]
        if self.views.augment.intensity:
            image[: len(known)] = change_intensity(
                image[: len(known)], self.views.augment, self._spacing
            )
        return Batch(
            image=image, label=label, distance=distance, cases=names, strong=strong, target=target
        )

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
