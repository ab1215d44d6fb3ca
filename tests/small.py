"""A prepared cache so small that a step of training takes milliseconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.training.loop import Trainer
from simcvd.training.settings import NetworkConfig, TrainConfig
from simcvd.types import Batch

CASES, LABELED, TEST = 6, 3, 2
NETWORK = NetworkConfig(widths=(4, 8, 8), blocks=(1, 1, 1), strides=((2, 2, 2),) * 2)
TRAIN = TrainConfig(iterations=6, patch=(16, 16, 8), lr=0.01)


def write_scans(folder: Path, *, labels: int = CASES, classes: int = 3) -> Path:
    """Bright balls (class 1) with a brighter core (class 2) in noise, as two plain folders.

    ``labels``: how many of the training scans get a label file. With two ``classes`` the core
    belongs to the ball.
    """
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*map(np.arange, (20, 18, 12)), indexing="ij"))
    names = [f"case{i}" for i in range(CASES + TEST)]
    for i, name in enumerate(names):
        centre = rng.uniform(6, 12, 3).reshape(3, 1, 1, 1)
        radius = np.sqrt(((grid - centre) ** 2).sum(0))
        label = (radius < 5).astype(np.uint8) + (radius < 2.5)
        image = 2.0 * label + rng.normal(0, 0.5, label.shape)
        _write(folder / "images" / f"{name}.nii.gz", image.astype(np.float32))
        if i < labels or i >= CASES:
            known = np.minimum(label, classes - 1).astype(np.uint8)
            _write(folder / "labels" / f"{name}.nii.gz", known)
    (folder / "train.list").write_text("\n".join(names[:CASES]) + "\n")
    (folder / "test.list").write_text("\n".join(names[CASES:]) + "\n")
    return folder


def make_cache(folder: Path, *, labels: int = CASES, classes: int = 3) -> Cache:
    """The scans of :func:`write_scans`, prepared."""
    scans = write_scans(folder / "scans", labels=labels, classes=classes)
    return prepare(scans, folder / "cache", jobs=1)


def with_pseudo_labels(trainer: Trainer) -> Trainer:
    """The trainer, its unlabelled patches with pseudo-labels where its method learns from some."""
    draw = trainer.patches.batch

    def batch(step: int) -> Batch:
        drawn = draw(step)
        brightness = drawn.image[drawn.labeled :, 0]
        target = (brightness > 1).long() + (brightness > 3)
        return replace(drawn, target=target.where((brightness - 1).abs() > 0.3, -1))

    if trainer.method.pseudo_labels:
        trainer.patches.batch = batch  # type: ignore[method-assign]
    return trainer


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)
