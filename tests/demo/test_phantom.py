"""Phantom scans: the same for a seed, different between cases, and not found by a threshold."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from simcvd.demo.phantom import PhantomSettings, make_phantom, write_phantoms
from simcvd.types import SimcvdError

SMALL = PhantomSettings(shape=(32, 32, 24), spacing=(3.0, 3.0, 4.0))


def test_the_same_seed_gives_the_same_scan() -> None:
    (image, label), (again, label_again) = make_phantom((0, 1), SMALL), make_phantom((0, 1), SMALL)
    np.testing.assert_array_equal(image.array, again.array)
    np.testing.assert_array_equal(label.array, label_again.array)
    assert not np.array_equal(image.array, make_phantom((0, 2), SMALL)[0].array)


def _best_dice(voxels: np.ndarray, inside: np.ndarray) -> float:
    """The highest Dice that any "brighter than t" reaches."""
    hits = np.cumsum(inside.ravel()[np.argsort(-voxels, axis=None)])
    return float((2 * hits / (np.arange(1, hits.size + 1) + hits[-1])).max())


def test_the_best_threshold_is_found() -> None:
    # Above 5 lie 9, 8 and 6, among them both that are inside: 2 * 2 / (3 + 2).
    voxels, inside = np.array([9, 1, 8, 6, 3]), np.array([True, False, False, True, False])
    assert _best_dice(voxels, inside) == pytest.approx(4 / 5)


def test_no_threshold_finds_the_chamber() -> None:
    scans = [make_phantom((3, case), SMALL) for case in range(8)]
    images = [scan.array[0] for scan, _ in scans]
    labels = [label.array > 0 for _, label in scans]
    assert all(0.01 < label.mean() < 0.2 for label in labels)
    each = [_best_dice(*pair) for pair in zip(images, labels, strict=True)]
    assert np.mean(each) < 0.5  # although every scan's own reference chose its threshold
    standard = [(image - image.mean()) / image.std() for image in images]
    assert _best_dice(np.stack(standard), np.stack(labels)) < 0.4


def test_the_chamber_can_be_seen() -> None:
    # Lighter than the muscle and the lungs around it, as a reader of the scan would see it.
    for case in range(4):
        image, label = make_phantom((3, case), SMALL)
        inside = label.array > 0
        shell = ndimage.binary_dilation(inside, iterations=3) & ~inside
        assert image.array[0][inside].mean() > 1.2 * image.array[0][shell].mean()


def test_the_patient_lies_as_the_affine_says() -> None:
    # Below the heart, from front to back: skin, muscle (0.38), and the spine (0.62) at the back.
    settings = PhantomSettings(noise=0, bias=0, variation=0)
    image, _ = make_phantom((0, 0), settings)
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    line = image.array[0, 22:26, :, 1:5].mean(axis=(0, 2))
    assert line[41:44].mean() / line[8:39].mean() == pytest.approx(0.62 / 0.38, rel=0.1)


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
