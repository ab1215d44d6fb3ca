"""Small made-up scans in every layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from simcvd.layouts import la2018

SHAPE = (12, 10, 8)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def ball(shape: tuple[int, ...] = SHAPE, radius: float = 3.0) -> np.ndarray:
    """A label map [X, Y, Z] of one ball in the middle, uint8."""
    grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij"))
    return (np.linalg.norm(grid, axis=0) < radius).astype(np.uint8)


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Integer intensities, as scanners give them, brighter inside the ball."""
    values = np.random.default_rng(seed).integers(0, 100, shape)
    return (values + 200 * ball(shape)).astype(np.int16)


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """images/ a, b, c, d and labels/ of a and c, as NIfTI."""
    root = tmp_path / "plain"
    for seed, name in enumerate("abcd"):
        save(root / "images" / f"{name}.nii.gz", noise(seed))
    for name in "ac":
        save(root / "labels" / f"{name}.nii.gz", ball())
    return root


@pytest.fixture
def la_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """A folder like the LA benchmark's, with n training scans and one test scan."""
    made_up = {la2018.digest_of(f"{i:0>19}A") for i in range(9)}
    monkeypatch.setattr(la2018, "DIGESTS", made_up)

    def make(n: int) -> Path:
        root = tmp_path / "la"
        names = [f"{i:0>19}A" for i in reversed(range(n + 1))]
        for seed, name in enumerate(names):
            save(root / "images" / f"{name}.nii.gz", noise(seed) / 64.0)
            save(root / "labels" / f"{name}.nii.gz", ball())
        (root / "train.list").write_text("\n".join(names[:-1]) + "\n\n")
        (root / "test.list").write_text(names[-1] + "\n")
        return root

    return make
