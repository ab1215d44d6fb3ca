"""Phantom scans: the same for a seed, different between cases, and not found by a threshold."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from simcvd.data.phantom import PhantomSettings, make_phantom, write_phantoms
from simcvd.types import SimcvdError

SMALL = PhantomSettings(shape=(32, 32, 24), spacing=(3.0, 3.0, 4.0))


def test_the_same_seed_gives_the_same_scan() -> None:
    (image, label), (again, label_again) = make_phantom((0, 1), SMALL), make_phantom((0, 1), SMALL)
    np.testing.assert_array_equal(image.array, again.array)
    np.testing.assert_array_equal(label.array, label_again.array)
    assert not np.array_equal(image.array, make_phantom((0, 2), SMALL)[0].array)


@pytest.mark.parametrize("case", range(4))
def test_no_threshold_finds_the_chamber(case: int) -> None:
    image, label = make_phantom((3, case), SMALL)
    inside, voxels = label.array > 0, image.array[0]
    best = 0.0
    for threshold in np.quantile(voxels, np.linspace(0.3, 0.99, 60)):
        found = voxels > threshold
        best = max(best, 2 * (found & inside).sum() / (found.sum() + inside.sum()))
    assert 0.05 < best < 0.6


def test_chamber_and_veins_are_one_piece() -> None:
    label = make_phantom((0, 0), PhantomSettings())[1].array
    parts, count = ndimage.label(label)
    assert np.bincount(parts.flat)[1:].max() > 0.97 * label.sum()
    assert count <= 3  # a vein may leave the field of view and come back


def test_layout_and_geometry(tmp_path: Path) -> None:
    names = write_phantoms(tmp_path, 4, 0, test=1, labeled=2, settings=SMALL)
    assert (tmp_path / "train.list").read_text().split() == names[:3]
    assert (tmp_path / "test.list").read_text().split() == names[3:]
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == [
        f"{names[i]}.nii.gz" for i in (0, 1, 3)
    ]
    image = nibabel.load(tmp_path / "images" / f"{names[0]}.nii.gz")
    assert image.shape == SMALL.shape
    np.testing.assert_allclose(image.header.get_zooms(), SMALL.spacing, rtol=1e-5)


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="2 phantoms with 2 for test"):
        write_phantoms(tmp_path, 2, 0, test=2)
    with pytest.raises(SimcvdError, match="at least 16 voxels"):
        PhantomSettings(shape=(8, 32, 32))
