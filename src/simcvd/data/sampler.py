"""Which patches make up a batch: a function of seed, step and process, with no state.

Resuming therefore needs nothing but the step, and any batch of any run can be drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from simcvd.data.cache import Cache
from simcvd.machine import free_memory
from simcvd.transforms.augment import AugmentConfig
from simcvd.transforms.intensity import apply_intensity, draw_intensity
from simcvd.transforms.spatial import (
    PLAIN,
    Augmentation,
    Geometry,
    apply_geometry,
    draw_geometry,
)
from simcvd.types import UNKNOWN, Batch, IntTriple

Kind = Literal["image", "label", "distance", "target"]
REMEMBERED = 20_000  # voxels of a class in a scan, to centre patches on
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
    augment: AugmentConfig = PLAIN
    foreground: float = 0.0
    distance: bool = True
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Patches as they are cut, float32 ``[n, channels, X, Y, Z]``; otherwise as in `Batch`."""

    cases: tuple[str, ...]
    image: Tensor
    label: Tensor
    distance: Tensor
    target: Tensor | None


class Patches:
    """Cuts batches out of prepared scans.

    On a GPU the scans stay on the device if they take at most `SHARE` of what is free there. Else,
    and on a CPU, they are read through the memory map; for a GPU a thread of its own does that, a
    step ahead, into memory that the device copies from by itself. The label and distance files of
    an unlabelled case are never opened.
    """

    def __init__(
        self,
        cache: Cache,
        streams: TwoStreams,
        views: Views,
        device: torch.device,
    ) -> None:
        self.streams, self.views, self.device = streams, views, device
        self._task, self._spacing = cache.task_info, cache.manifest.spacing
        used = dict.fromkeys([*streams.labeled, *(streams.unlabeled if streams.batch[1] else ())])
        cases = {name: cache.case(name) for name in used}
        maps: dict[Kind, dict[str, np.ndarray]] = {
            "image": {name: case.image for name, case in cases.items()},
            "label": {name: cases[name].label for name in streams.labeled},
            "distance": {},
        }
        if views.distance:
            maps["distance"] = {name: cases[name].distance for name in streams.labeled}
        self._home = home_of(chain.from_iterable(a.values() for a in maps.values()), device)
        self._maps = {
            kind: {name: _hold(array, self._home) for name, array in arrays.items()}
            for kind, arrays in maps.items()
        }
        inside = maps["label"] if views.foreground else {}
        self._inside = {name: foreground_voxels(label) for name, label in inside.items()}
        self._pinned = self._home.type == "cpu" and device.type == "cuda"
        self._cut_batch = self._cut_all if self._home == device else Ahead(self._cut_all)

    def open_targets(self, labels: Mapping[str, np.ndarray]) -> None:
        """Give batches pseudo-labels: of each unlabelled scan ``[X, Y, Z]``, `UNKNOWN` for none."""
        self._maps["target"] = {name: _hold(array, self._home) for name, array in labels.items()}

    def batch(self, step: int) -> Batch:
        """The batch of this step, drawn anew and yet always the same.

        Poses and places follow the step alone; intensities follow torch's own random state.
        """
        cut = self._cut_batch(step)
        count, views = self.streams.batch[0], self.views
        image, label, distance = (
            t.to(self.device, non_blocking=True) for t in (cut.image, cut.label, cut.distance)
        )
        target = None if cut.target is None else cut.target.to(self.device, non_blocking=True)
        strong = self._jittered(image[count:]) if views.strong else None
        if views.augment.intensity:
            image[:count] = self._jittered(image[:count])
        return Batch(
            image=image,
            label=label[:, 0].long(),
            distance=distance,
            cases=cut.cases,
            strong=strong,
            target=None if target is None else target[:, 0].long(),
        )

    def _cut_all(self, step: int) -> Cut:
        """The patches of this step, where the scans lie."""
        names = self.streams.cases(step)
        rng = np.random.default_rng(
            (self.streams.seed, _GEOMETRY, step, self.streams.rank, self.streams.world)
        )
        count, views, task = self.streams.batch[0], self.views, self._task
        drawn = [self._draw(rng, name, known=i < count) for i, name in enumerate(names)]
        image = self._empty(len(names), task.channels)
        label = self._empty(count, 1)
        distance = self._empty(count, task.classes - 1 if views.distance else 0)
        target = self._empty(len(names) - count, 1) if "target" in self._maps else None
        for i, (name, geometry) in enumerate(zip(names, drawn, strict=True)):
            self._cut(image[i], "image", name, geometry, 0)
            if i < count:
                self._cut(label[i], "label", name, geometry, 0)
            if i < count and views.distance:  # beyond the scan is outside
                self._cut(distance[i], "distance", name, geometry, 1)
            if i >= count and target is not None:
                self._cut(target[i - count], "target", name, geometry, UNKNOWN)
        return Cut(cases=names, image=image, label=label, distance=distance, target=target)

    def _jittered(self, image: Tensor) -> Tensor:
        augment = self.views.augment
        if not augment.intensity:
            return image
        return apply_intensity(image, draw_intensity(image, augment, self._spacing))

    def padded(self) -> list[str]:
        """The scans that are smaller than the patch along some axis."""
        return [
            name
            for name, image in self._maps["image"].items()
            if any(n < p for n, p in zip(_size(image), self.views.patch, strict=True))
        ]

    def _draw(self, rng: np.random.Generator, name: str, known: bool) -> Geometry:
        views, centre = self.views, None
        if known and views.foreground and rng.random() < views.foreground:
            centre = _draw_inside(rng, self._inside[name])
        size = _size(self._maps["image"][name])
        return draw_geometry(
            *(rng, size, views.patch, views.poses, views.augment),
            spacing=self._spacing,
            centre=centre,
        )

    def _cut(self, out: Tensor, kind: Kind, name: str, geometry: Geometry, fill: float) -> None:
        nearest = kind in ("label", "target")
        volume = self._maps[kind][name]
        out.copy_(apply_geometry(volume, geometry, self.views.patch, fill, nearest=nearest))

    def _empty(self, batch: int, channels: int) -> Tensor:
        return torch.empty(
            (batch, channels, *self.views.patch),
            device=self._home,
            memory_format=torch.channels_last_3d,
            pin_memory=self._pinned,
        )


class Ahead:
    """A function of the step whose next result a thread makes while this one is used."""

    def __init__(self, make: Callable[[int], Cut]) -> None:
        self._make, self._thread = make, ThreadPoolExecutor(1)
        self._next: dict[int, Future[Cut]] = {}

    def __call__(self, step: int) -> Cut:
        """Raises what the function raises."""
        made = self._next.get(step) or self._thread.submit(self._make, step)
        cut = made.result()
        self._next = {step + 1: self._thread.submit(self._make, step + 1)}
        return cut


def foreground_voxels(label: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each foreground class that a label map ``[X, Y, Z]`` holds, its voxels ``[n, 3]``.

    At most `REMEMBERED` of a class, evenly over its voxels.
    """
    found = []
    for value in range(1, int(label.max(initial=0)) + 1):
        voxels = np.flatnonzero(label == value)
        if len(voxels):
            kept = voxels[:: -(-len(voxels) // REMEMBERED)]
            found.append(np.stack(np.unravel_index(kept, label.shape), axis=1))
    return tuple(found)


def _draw_inside(rng: np.random.Generator, classes: tuple[np.ndarray, ...]) -> IntTriple | None:
    """A voxel of a class, each class as often; None where the scan has no foreground."""
    if not classes:
        return None
    voxels = classes[rng.integers(len(classes))]
    x, y, z = voxels[rng.integers(len(voxels))].tolist()
    return x, y, z


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
