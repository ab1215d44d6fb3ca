"""One SimCVD step on full-size LA patches: ours against the same method written plainly.

    python benchmarks/training_speed.py SCANS [--spacing MM] [--steps N] [--out FILE]

SCANS is the folder of NIfTI scans with train.list. The plain step is the one this field shares:
float32, contiguous layout, both whole scans of a labelled pair decompressed from h5 for one patch
each, signed distance maps computed by scipy inside the loop, noise, averages and optimiser
parameter by parameter. Both run in this process on the same number of threads, in turn, so that
the ratio survives a machine whose speed drifts.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import torch
from lightning.fabric import Fabric
from scipy import ndimage

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.engine.loop import Trainer, build_method
from simcvd.engine.run import Run, resolve
from simcvd.networks.autocast import autocast_dtype
from simcvd.types import Batch, Progress

LABELED = 8


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


class PlainStep:
    """The reference: the same networks and terms, everything around them written plainly."""

    def __init__(self, run: Run, cache: Cache, folder: Path) -> None:
        self.run, self.files = run, {}
        for name in (*run.labeled, *run.unlabeled[:LABELED]):
            self.files[name] = folder / f"{name}.h5"
            with h5py.File(self.files[name], "w") as file:
                case = cache.case(name)
                image = case.image[0].astype(np.float32)
                file.create_dataset("image", data=image, compression="gzip")
                file.create_dataset("label", data=case.label[:], compression="gzip")
        self.method = build_method(run)
        self.optimizer = torch.optim.SGD(
            self.method.players()["network"],
            lr=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            foreach=False,
        )
        self.rng, self.step = np.random.default_rng(0), 0

    def __call__(self) -> None:
        """One iteration."""
        progress = Progress(step=self.step, total=self.run.train.iterations)
        terms, weights = self.method(self._batch(), progress), self.method.weights(progress)
        loss = sum(weights[name] * term for name, term in terms.items())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        for average, source, decay in self.method.averages():
            for a, s in zip(average.parameters(), source.parameters(), strict=True):
                a.data.mul_(decay).add_(s.data, alpha=1 - decay)
        self.step += 1

    def _batch(self) -> Batch:
        names = [*self.rng.choice(self.run.labeled, 2), *self.rng.choice(list(self.files), 2)]
        patches = [self._patch(str(name)) for name in names]
        images = np.stack([image for image, _ in patches])[:, None]
        labels = np.stack([label for _, label in patches[:2]])
        distances = np.stack([plain_distance(label) for label in labels])[:, None]
        return Batch(
            image=torch.from_numpy(images),
            label=torch.from_numpy(labels).long(),
            distance=torch.from_numpy(distances),
            cases=tuple(map(str, names)),
        )

    def _patch(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        with h5py.File(self.files[name], "r") as file:
            image, label = file["image"][:], file["label"][:]
        patch, turns, axis = self.run.task.patch, self.rng.integers(4), self.rng.integers(2)
        missing = [max(p - n, 0) for p, n in zip(patch, image.shape, strict=True)]
        if any(missing):
            image, label = (np.pad(a, [(m, m) for m in missing]) for a in (image, label))
        starts = [self.rng.integers(n - p + 1) for p, n in zip(patch, image.shape, strict=True)]
        box = tuple(slice(s, s + p) for s, p in zip(starts, patch, strict=True))
        image, label = (np.flip(np.rot90(a[box], turns), axis) for a in (image, label))
        return image.copy(), label.copy()


def seconds_of(step: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(source: Path, spacing: float | None, steps: int) -> dict[str, object]:
    """Both steps in turn, after one warm-up each; medians and their ratio."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sizes = (spacing,) if spacing else None
        cache = prepare(source, folder / "cache", spacing=sizes, quiet=True)
        run = resolve(cache, method="simcvd", labeled=LABELED)
        plain = PlainStep(run, cache, folder)
        fabric = Fabric(devices=1)
        ours = Trainer(fabric, run, cache, folder / "run")
        times: dict[str, list[float]] = {"plain": [], "ours": []}
        for i in range(steps + 1):
            for name, step in (("plain", plain), ("ours", ours.train_step)):
                seconds = seconds_of(step)  # type: ignore[arg-type]
                if i:
                    times[name].append(round(seconds, 3))
        data = median(seconds_of(lambda k=k: ours.patches.batch(k)) for k in range(5))
    plain_s, ours_s = median(times["plain"]), median(times["ours"])
    return {
        "patch": run.task.patch,
        "batch": "2 labelled + 2 unlabelled",
        "precision": str(autocast_dtype("auto", fabric.device) or torch.float32),
        "plain_seconds": times["plain"],
        "ours_seconds": times["ours"],
        "data_and_augmentation_share": round(data / ours_s, 4),
        "ratio": round(plain_s / ours_s, 2),
        "machine": machine(),
    }


def machine() -> dict[str, object]:
    """What the figures depend on."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return {
        "processor": platform.processor() or platform.machine(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--spacing", type=float)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.source, arguments.spacing, arguments.steps)
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
