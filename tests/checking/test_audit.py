"""Leaks planted into small data sets are found, and clean ones raise no alarm."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from simcvd.checking.audit import (
    CROPPED,
    PATIENT,
    TEST_IN_TRAINING,
    TWICE,
    Margins,
    audit,
    cropped_by_label,
    margins,
    refuse_fatal,
)
from simcvd.checking.findings import Finding
from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.data.record import MANIFEST
from simcvd.types import SimcvdError

WHOLE = (24, 24, 16)
Scans = dict[str, tuple[np.ndarray, np.ndarray]]


def make_scans(count: int) -> Scans:
    """Noise with a brighter box of random size and place."""
    rng = np.random.default_rng(7)
    scans = {}
    for i in range(count):
        label = np.zeros(WHOLE, np.uint8)
        size = rng.integers(5, 11, 3)
        start = [rng.integers(1, n - s) for n, s in zip(WHOLE, size, strict=True)]
        label[tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))] = 1
        image = rng.normal(0, 1, WHOLE).astype(np.float32) + 3 * label
        scans[f"p{i // 2}_scan{i}"] = (image, label)
    return scans


def make_cache(folder: Path, scans: Scans, test: int) -> Cache:
    names = list(scans)
    for name, pair in scans.items():
        for kind, array in zip(("images", "labels"), pair, strict=True):
            path = folder / "scans" / kind / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    for split, part in (("train", names[:-test]), ("test", names[-test:])):
        (folder / "scans" / f"{split}.list").write_text("\n".join(part) + "\n")
    return prepare(folder / "scans", folder / "cache", jobs=1, quiet=True)


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def test_clean_data_raise_no_alarm(tmp_path: Path) -> None:
    findings = audit(make_cache(tmp_path, make_scans(10), test=2), r"^(p\d+)_")
    assert findings == []
    refuse_fatal(findings)


def test_same_voxels_in_both_splits_are_refused(tmp_path: Path) -> None:
    scans = make_scans(6)
    names = list(scans)
    scans["another_name"] = scans[names[1]]  # the last one is for testing
    findings = audit(make_cache(tmp_path, scans, test=1))
    assert kinds(findings) == [TEST_IN_TRAINING]
    assert set(findings[0].cases) == {names[1], "another_name"}
    with pytest.raises(SimcvdError, match=r"another_name.*same voxels"):
        refuse_fatal(findings)


def test_same_voxels_twice_in_training_are_a_warning(tmp_path: Path) -> None:
    scans = make_scans(6)
    scans = {"copy": next(iter(scans.values())), **scans}
    findings = audit(make_cache(tmp_path, scans, test=1))
    assert kinds(findings) == [TWICE]
    refuse_fatal(findings)


def test_a_name_in_both_lists_is_refused(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_scans(4), test=1)
    name = cache.test[0]
    listed = replace(cache.manifest, train=(name, *cache.train))
    listed = replace(listed, data_hash=listed.content_hash())
    (cache.root / "manifest.json").write_text(json.dumps(MANIFEST.content(listed)))
    findings = audit(Cache(cache.root))
    assert kinds(findings) == [TEST_IN_TRAINING]
    with pytest.raises(SimcvdError, match=name):
        refuse_fatal(findings)


def test_one_patient_in_two_splits(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_scans(6), test=1)  # p2 has scan 4 and, for testing, 5
    findings = audit(cache, r"^(p\d+)_")
    assert kinds(findings) == [PATIENT]
    assert findings[0].cases == ("p2_scan4", "p2_scan5")
    assert audit(cache, r"scan\d+") == []  # without a group, all that matches is the patient


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "not a regular expression"), ("xyz", "matches no scan; they are called p0_scan0")],
)
def test_bad_patterns_are_refused(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(SimcvdError, match=message):
        audit(make_cache(tmp_path, make_scans(3), test=1), pattern)


def test_scans_cut_around_their_label_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scans = {}
    for name, (image, label) in make_scans(12).items():
        box = []
        for axis in range(2):  # z stays whole, as in the published left-atrium scans
            inside = np.flatnonzero(label.any(axis=(1 - axis, 2)))
            low, high = inside[0] - rng.integers(1, 3), inside[-1] + rng.integers(1, 3)
            box.append(slice(max(low, 0), high + 1))
        scans[name] = (image[tuple(box)], label[tuple(box)])
    cache = make_cache(tmp_path, scans, test=2)
    findings = audit(cache)
    assert kinds(findings) == [CROPPED]
    assert "along X" in findings[0].message
    assert "along Y" in findings[0].message
    assert "along Z" not in findings[0].message


def test_margins_by_hand(tmp_path: Path) -> None:
    label = np.zeros(WHOLE, np.uint8)
    label[3:10, 5:6, 0:16] = 1
    cache = make_cache(tmp_path, {f"c{i}": (label + i * 0.5, label) for i in range(3)}, test=1)
    x, y, z = margins(cache)
    assert (x.before[0], x.after[0], x.length[0]) == (3, 14, 24)
    assert (y.before[0], y.after[0], y.box[0]) == (5, 18, 1)
    assert (z.before[0], z.after[0], z.box[0]) == (0, 0, 16)


def test_a_label_in_the_very_middle_of_every_scan_is_found() -> None:
    rng = np.random.default_rng(0)
    box = rng.integers(40, 60, 20)
    before = (96 - box) // 2
    centred = Margins(before=before, after=96 - box - before, length=np.full(20, 96))
    assert "centred" in cropped_by_label(centred)
    shift = rng.integers(-8, 9, 20)
    placed = Margins(before=before + shift, after=centred.after - shift, length=centred.length)
    assert cropped_by_label(placed) == ""


def test_bodies_of_many_sizes_are_not_taken_for_crops() -> None:
    """Field of view and organ both grow with the body: correlated, but not one by the other."""
    rng = np.random.default_rng(0)
    body = rng.normal(1, 0.1, 60)
    length = np.rint(300 * body * rng.normal(1, 0.05, 60)).astype(int)
    box = np.rint(120 * body * rng.normal(1, 0.12, 60)).astype(int)
    before = np.rint((length - box) * rng.uniform(0.4, 0.6, 60)).astype(int)
    margin = Margins(before=before, after=length - box - before, length=length)
    assert np.corrcoef(length, box)[0, 1] > 0.3
    assert cropped_by_label(margin) == ""


def test_a_handful_of_scans_is_not_judged() -> None:
    few = Margins(before=np.full(5, 3), after=np.full(5, 3), length=np.arange(20, 25))
    assert cropped_by_label(few) == ""


def test_the_published_left_atrium_scans_are_cropped_by_their_label(
    shared_data: Path, tmp_path: Path
) -> None:
    source = tmp_path / "la"
    names = (shared_data / "la2018" / "train.list").read_text().split()[:10]
    for kind in ("images", "labels"):
        (source / kind).mkdir(parents=True)
        for name in names:
            [path] = (shared_data / "la2018" / kind).glob(f"{name}*")
            shutil.copy(path, source / kind)
    (source / "train.list").write_text("\n".join(names[:-2]) + "\n")
    (source / "test.list").write_text("\n".join(names[-2:]) + "\n")
    findings = audit(prepare(source, tmp_path / "cache", spacing=(2.5,), jobs=1, quiet=True))
    assert kinds(findings) == [CROPPED]
    assert "along X" in findings[0].message
