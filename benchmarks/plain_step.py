"""The reference training step: the same networks and terms, everything around them plain.

As the scripts of this field do it: float32, contiguous layout, both whole scans of a labelled pair
decompressed for one patch each, signed distance maps computed by scipy inside the loop, noise,
averages and optimiser parameter by parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from simcvd.data.cache import Cache
from simcvd.schedules import warm_decay
from simcvd.training.optim import rate_at, set_learning_rates
from simcvd.training.run import Run
from simcvd.training.setup import build_method
from simcvd.types import Batch, Progress

UNLABELED = 8  # scans that are written for it, beside the labelled ones


def plain_layers(network: nn.Module) -> nn.Module:
    """``network`` itself, contiguous, every convolution as torch computes it."""
    for layer in network.modules():
        for torchs_own in (nn.Conv3d, nn.ConvTranspose3d):
            if isinstance(layer, torchs_own):
                layer.forward = partial(torchs_own.forward, layer)
    return network.to(memory_format=torch.contiguous_format)


def plain_distance(label: np.ndarray) -> np.ndarray:
    """Signed distance map of a binary patch, as training scripts compute it step by step."""
    inside = ndimage.distance_transform_edt(label)
    outside = ndimage.distance_transform_edt(1 - label)
    boundary = label - ndimage.binary_erosion(label).astype(label.dtype)
    if not label.any() or label.all():
        return np.zeros(label.shape, np.float32)
    sdm = outside / outside.max() - inside / inside.max()
    sdm[boundary == 1] = 0
    return sdm.astype(np.float32)


def write_whole(path: Path, image: np.ndarray, label: np.ndarray) -> None:
    """One compressed file a scan: h5 as the field keeps it, npz (zlib too) without h5py."""
    if not find_spec("h5py"):
        np.savez_compressed(path.with_suffix(".npz"), image=image, label=label)
        return
    import h5py

    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("image", data=image, compression="gzip")
        file.create_dataset("label", data=label, compression="gzip")


def read_whole(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The image and label of `write_whole`, decompressed."""
    if path.with_suffix(".npz").exists():
        with np.load(path.with_suffix(".npz")) as file:
            return file["image"], file["label"]
    import h5py

    with h5py.File(path.with_suffix(".h5"), "r") as file:
        return file["image"][:], file["label"][:]


class PlainStep:
    """Calling it is one iteration, which returns the terms; ``batches`` draws that of a step."""

    def __init__(self, run: Run, batches: Callable[[int], Batch], device: torch.device) -> None:
        self.run, self.batches = run, batches
        self.method = plain_layers(build_method(run).to(device))
        self.optimizer = torch.optim.SGD(
            self.method.players()["network"],
            lr=run.train.lr,
            momentum=run.train.momentum,
            weight_decay=run.train.weight_decay,
            foreach=False,
        )
        self.step = 0

    def __call__(self) -> dict[str, Tensor]:
        """One iteration."""
        set_learning_rates({"network": self.optimizer}, rate_at(self.run.train, self.step))
        progress = Progress(step=self.step, total=self.run.train.iterations)
        terms = self.method(self.batches(self.step), progress)
        weights = self.method.weights(progress)
        loss = sum(weights[name] * term for name, term in terms.items())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        for average, source, decay, _ in self.method.averages():
            kept = warm_decay(self.step, decay)
            for a, s in zip(average.parameters(), source.parameters(), strict=True):
                a.data.mul_(kept).add_(s.data, alpha=1 - kept)
        self.step += 1
        return {name: term.detach() for name, term in terms.items()}


class PlainPatches:
    """Batches of two labelled patches and two of any scan, each read whole from its file."""

    def __init__(self, run: Run, cache: Cache, folder: Path, device: torch.device) -> None:
        self.run, self.device, self.files = run, device, {}
        for name in (*run.labeled, *run.unlabeled[:UNLABELED]):
            case = cache.case(name)
            label = case.label[:] if case.has_label else np.zeros(case.shape, np.uint8)
            self.files[name] = folder / name
            write_whole(self.files[name], case.image[0].astype(np.float32), label)
        self.rng = np.random.default_rng(0)

    def batch(self, step: int) -> Batch:
        """The next batch, whatever the step; the first class of the foreground is all there is."""
        names = [*self.rng.choice(self.run.labeled, 2), *self.rng.choice(list(self.files), 2)]
        patches = [self._patch(str(name)) for name in names]
        images = np.stack([image for image, _ in patches])[:, None]
        labels = np.stack([label for _, label in patches[:2]])
        distances = np.stack([plain_distance(label) for label in labels])[:, None]
        return Batch(
            image=torch.from_numpy(images).to(self.device),
            label=torch.from_numpy(labels).long().to(self.device),
            distance=torch.from_numpy(distances).to(self.device),
            cases=tuple(map(str, names)),
        )

    def _patch(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        image, label = read_whole(self.files[name])
        patch, turns, axis = self.run.task.patch, self.rng.integers(4), self.rng.integers(2)
        missing = [max(p - n, 0) for p, n in zip(patch, image.shape, strict=True)]
        if any(missing):
            image, label = (np.pad(a, [(m, m) for m in missing]) for a in (image, label))
        starts = [self.rng.integers(n - p + 1) for p, n in zip(patch, image.shape, strict=True)]
        box = tuple(slice(s, s + p) for s, p in zip(starts, patch, strict=True))

        image, label = (np.flip(np.rot90(a[box], turns), axis) for a in (image, label))
        return image.copy(), label.copy()
