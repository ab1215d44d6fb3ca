"""`simcvd check`: each planted fault is found, sound data yields nothing, copies are mended."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.data.conftest import AFFINE, SHAPE, ball, noise, save
from tests.data.dicom_series import write_series

from simcvd.checking.check import check, check_source
from simcvd.checking.compare import robust_z
from simcvd.checking.findings import CheckReport, Finding
from simcvd.checking.mend import mend
from simcvd.data.prepare import prepare
from simcvd.formats import read_image, read_label
from simcvd.types import SimcvdError

NAMES = "abcdefgh"


def side_ball(side: int) -> np.ndarray:
    """The ball moved `side` voxels along x."""
    return np.roll(ball(), side, axis=0)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Eight scans of ordinary differences; six labels of an organ on the left."""
    root = tmp_path / "sound"
    for seed, name in enumerate(NAMES):
        save(root / "images" / f"{name}.nii.gz", noise(seed))
    for seed, name in enumerate(NAMES[:6]):
        label = side_ball(-2)
        label[1 + seed % 3, 4 + seed // 3, 4] = 1 - label[1 + seed % 3, 4 + seed // 3, 4]
        save(root / "labels" / f"{name}.nii.gz", label)
    return root


def run(root: Path, labels: Path | None = None) -> CheckReport:
    return check(root, labels=labels, jobs=1, quiet=True)


def only(report: CheckReport) -> Finding:
    """The one finding there must be."""
    assert [(f.kind, f.message) for f in report.findings][1:] == []
    return report.findings[0]


def image(root: Path, name: str = "b") -> Path:
    return root / "images" / f"{name}.nii.gz"


def label(root: Path, name: str = "b") -> Path:
    return root / "labels" / f"{name}.nii.gz"


def test_sound_data_has_no_findings(sound: Path) -> None:
    report = run(sound)
    assert report.findings == ()
    assert (report.scans, report.labeled, report.errors) == (8, 6, 0)


def test_all_problems_come_at_once(sound: Path) -> None:
    os.truncate(image(sound, "a"), 100)
    save(label(sound, "b"), ball((12, 10, 9)))
    array = noise(2).astype(np.float32)
    array[1, 2, 3] = np.nan
    save(image(sound, "c"), array)
    save(label(sound, "d"), 0 * ball())
    shutil.copy(image(sound, "e"), image(sound, "f"))
    save(label(sound, "zz"), ball())
    found = {(f.severity, f.kind, f.scan) for f in run(sound).findings}
    assert found == {
        ("error", "unreadable", "a"),
        ("error", "geometry", "b"),
        ("error", "not finite", "c"),
        ("warning", "empty label", "d"),
        ("warning", "duplicate", "e"),
        ("warning", "duplicate", "f"),
        ("warning", "layout", ""),
    }


def test_nan_and_infinity(sound: Path) -> None:
    array = noise(1).astype(np.float32)
    array[1, 2, 3] = np.nan
    save(image(sound), array)
    finding = only(run(sound))
    assert finding.fixable
    assert "1 voxels are NaN and 0 infinite, the first at (1, 2, 3)" in finding.message
    array[0, 0, 0] = np.inf  # where it came from is a guess
    save(image(sound), array)
    assert not only(run(sound)).fixable


@pytest.mark.parametrize(("degrees", "severity"), [(0.5, "warning"), (5.0, "error")])
def test_sheared_axes(sound: Path, degrees: float, severity: str) -> None:
    affine = AFFINE.copy()
    affine[0, 2] = 2 * np.tan(np.radians(degrees))
    affine[2, 2] = 2.0
    scan = nibabel.Nifti1Image(noise(6), None)
    scan.set_sform(affine, code=1)
    nibabel.save(scan, image(sound, "g"))
    finding = only(run(sound))
    assert (finding.severity, finding.kind, finding.scan) == (severity, "axes", "g")
    assert f"{degrees:.2g} degrees off" in finding.message


def forms(path: Path, sform: np.ndarray | None, qform: np.ndarray | None) -> None:
    scan = nibabel.Nifti1Image(noise(6), None)
    scan.set_sform(sform, code=0 if sform is None else 1)
    scan.set_qform(qform, code=0 if qform is None else 1)
    nibabel.save(scan, path)


def test_two_forms_that_contradict_each_other(sound: Path) -> None:
    mirrored = np.diag([-1.0, 1.0, 2.0, 1.0])
    forms(image(sound, "g"), AFFINE, mirrored)
    finding = only(run(sound))
    assert finding.kind == "left-right"
    assert "mirror images" in finding.message
    moved = AFFINE.copy()
    moved[0, 3] = 30
    forms(image(sound, "g"), AFFINE, moved)
    finding = only(run(sound))
    assert finding.kind == "orientation"
    assert "up to 30 mm apart" in finding.message
    forms(image(sound, "g"), AFFINE, AFFINE)
    assert run(sound).findings == ()


def test_a_scan_without_any_orientation(sound: Path) -> None:
    forms(image(sound, "g"), None, None)
    assert "declares no orientation" in " ".join(f.message for f in run(sound).findings)


def test_outliers_in_spacing_size_and_intensity(sound: Path) -> None:
    save(image(sound, "g"), noise(6), np.diag([1.0, 1.0, 5.0, 1.0]))
    save(image(sound, "h"), noise(7) * 1000.0)
    found = {f.kind: f for f in run(sound).findings}
    assert set(found) == {"outlier spacing", "outlier size", "outlier intensity"}
    assert "voxel size foot-head is 5 mm, of the others 2" in found["outlier spacing"].message
    assert "extent foot-head is 40 mm, of the others 16" in found["outlier size"].message
    assert found["outlier intensity"].scan == "h"


def test_few_scans_have_no_outliers(folders: Path) -> None:
    save(folders / "images" / "d.nii.gz", noise(3) * 1000.0)
    assert {f.kind for f in run(folders).findings} == {"duplicate"}  # one label for a and c


def test_robust_z_by_hand() -> None:
    # Median 3; deviations 2 1 0 1 97, their median 1.
    scores = robust_z(np.array([1.0, 2, 3, 4, 100]), floor=0.1)
    assert scores == pytest.approx(np.array([-2, -1, 0, 1, 97]) / 1.4826)
    assert robust_z(np.array([5.0, 5, 5, 6]), floor=0.5).tolist() == [0, 0, 0, 2]


def test_two_files_of_one_name_are_no_channels(sound: Path) -> None:
    """An accent of its own letter, as macOS writes it, makes no other name."""
    for name in ("\u00e9", "e\u0301"):
        shutil.copy(image(sound), sound / "images" / f"{name}.nii.gz")
    assert "two files of one name" in " ".join(f.message for f in run(sound).findings)


def test_copies_within_and_across_the_split(sound: Path) -> None:
    save(image(sound, "h"), noise(6)[::-1], np.diag([-1.0, 1, 2, 1]) + np.eye(4, k=3) * 11)
    found = run(sound).findings  # the same voxels of the world along other axes
    assert {(f.scan, f.kind, f.severity) for f in found} == {
        ("g", "duplicate", "warning"),
        ("h", "duplicate", "warning"),
    }
    (sound / "test.list").write_text("h\n")
    found = run(sound).findings
    assert {f.severity for f in found} == {"error"}
    assert "in the train and in the test list" in found[0].message


def test_one_label_of_two_scans(sound: Path) -> None:
    shutil.copy(label(sound, "a"), label(sound, "b"))
    found = run(sound).findings
    assert [(f.kind, f.scan) for f in found] == [("duplicate", "a"), ("duplicate", "b")]
    assert "another scan, but the very same label as a" in found[1].message


def test_a_label_on_the_other_side(sound: Path) -> None:
    save(label(sound, "d"), side_ball(2))
    finding = only(run(sound))
    assert (finding.kind, finding.scan) == ("left-right", "d")
    assert "value 1: on the other side" in finding.message


def test_two_organs_exchanged(sound: Path) -> None:
    for seed, name in enumerate(NAMES[:6]):
        both = side_ball(-3) * (ball() == 0) + 2 * side_ball(3) * (side_ball(-3) == 0)
        both[2 + seed % 3, 4 + seed // 3, 0] = 1
        if name == "c":
            both = np.where(both > 0, 3 - both, 0).astype(np.uint8)
        save(label(sound, name), both)
    finding = only(run(sound))
    assert finding.scan == "c"
    assert "value 1 beside value 2" in finding.message


def test_values_undeclared_negative_and_rare(sound: Path) -> None:
    array = read_label(label(sound)).array
    array[0, 0, 0] = 7
    save(label(sound), array.astype(np.int16))
    finding = only(run(sound))
    assert finding.severity == "warning"
    assert "value 7 (1 voxels) occurs in no other of the 6 labels" in finding.message
    array[0, 0, 0] = -7
    save(label(sound), array.astype(np.int16))
    assert "not declared: -7 (1 voxels)" in run(sound).findings[0].message
    (sound / "images").rename(sound / "imagesTr")
    (sound / "labels").rename(sound / "labelsTr")
    info = {"labels": {"0": "background", "1": "x"}, "modality": {"0": "MRI"}}
    (sound / "dataset.json").write_text(json.dumps(info))
    finding = run(sound).findings[0]
    assert (finding.severity, finding.kind) == ("error", "label values")
    assert "Declared are 0, 1" in finding.message


def test_labels_interpolated_blurred_or_stored_as_floats(sound: Path) -> None:
    array = read_label(label(sound)).array
    for change, severity, fixable in ((0.3, "error", False), (1e-5, "error", True)):
        save(label(sound), array * np.float32(1 + change))
        finding = only(run(sound))
        assert (finding.kind, finding.severity) == ("label values", severity)
        assert finding.fixable is fixable
    save(label(sound), array.astype(np.float64))
    finding = only(run(sound))
    assert (finding.severity, finding.fixable) == ("warning", True)


def test_a_constant_scan(sound: Path) -> None:
    save(image(sound, "g"), np.full(SHAPE, 7, np.int16))
    assert any("all voxels are 7" in f.message for f in run(sound).findings)


def test_what_dicom_needed_is_reported(sound: Path) -> None:
    shifts = [(0, 0.5 * z, 0) for z in range(SHAPE[2])]
    write_series(sound / "images" / "t", noise(9), np.diag([-1.0, -1, 2, 1]), shifts=shifts)
    found = [f for f in run(sound).findings if f.kind == "corrected"]
    assert [f.scan for f in found] == ["t"]
    assert "gantry tilt" in found[0].message


def test_scans_in_no_known_layout_are_read_all_the_same(tmp_path: Path) -> None:
    save(tmp_path / "x" / "a.nii.gz", noise(0))
    save(tmp_path / "y" / "a.nii.gz", noise(0))
    report = run(tmp_path)
    assert "no layout with labels" in report.description
    assert {(f.kind, f.scan) for f in report.findings} == {
        ("duplicate", "x"),
        ("duplicate", "y"),
    }
    for name in "xy":
        shutil.rmtree(tmp_path / name)
    with pytest.raises(SimcvdError, match="not recognised"):
        run(tmp_path)


def digest(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def mended(root: Path, out: Path) -> list[str]:
    report, found = check_source(root, None, 1, True)
    return [str(p.relative_to(out)) for p in mend(report, found, out)]


def test_copies_are_mended_and_the_originals_left(sound: Path, tmp_path: Path) -> None:
    array = noise(1).astype(np.float32)
    array[1, 2, 3] = np.nan
    save(image(sound, "b"), array)
    original = read_label(label(sound, "c")).array
    moved = AFFINE.copy()
    moved[0, 3] = 0.05
    save(label(sound, "c"), original * np.float32(1.00001), moved)
    before, out = digest(sound), tmp_path / "mended"
    assert mended(sound, out) == ["images/b.nii.gz", "labels/c.nii.gz"]
    assert digest(sound) == before
    array[1, 2, 3] = np.nanmin(array)
    assert np.array_equal(read_image(out / "images" / "b.nii.gz").array[0], array)
    written = nibabel.load(out / "labels" / "c.nii.gz")
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(written.affine, nibabel.load(image(sound, "c")).affine)
    assert np.array_equal(np.asarray(written.dataobj), original)
    shutil.copytree(out, sound, dirs_exist_ok=True)
    assert run(sound).findings == ()
    assert prepare(sound, tmp_path / "cache", jobs=1, quiet=True).labeled(6)


def test_mended_copies_never_lie_within_the_data(sound: Path, tmp_path: Path) -> None:
    for place in (sound, sound / "images", sound / "mended"):
        with pytest.raises(SimcvdError, match="lies within the data"):
            mended(sound, place)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(SimcvdError, match="is not empty"):
        mended(sound, tmp_path / "full")


def test_the_command(sound: Path, tmp_path: Path) -> None:
    def command() -> subprocess.CompletedProcess[str]:
        arguments = ["check", str(sound), "--workers", "1", "--json", str(tmp_path / "check.json")]
        return subprocess.run(
            [sys.executable, "-m", "simcvd.cli", *arguments], capture_output=True, encoding="utf-8"
        )

    first = command()
    assert first.returncode == 0, first.stderr
    assert "8 scans, 6 with a label" in first.stdout
    os.truncate(image(sound, "a"), 0)
    second = command()
    assert second.returncode == 1
    assert "1 error, 0 warnings: 1 unreadable (error)" in second.stdout
    report = json.loads((tmp_path / "check.json").read_text())
    assert report["errors"] == 1
    assert report["findings"][0]["scan"] == "a"
    assert report["findings"][0]["file"] == str(image(sound, "a"))


def listed(root: Path, test: str) -> Path:
    """The scans of `root` with lists; `test`: names for testing, one letter each."""
    train = [name for name in NAMES if name not in test]
    for part, names in (("train", train), ("test", list(test))):
        (root / f"{part}.list").write_text("\n".join(names) + "\n", encoding="utf-8")
    return root


def test_splits_are_looked_at_only_when_asked(sound: Path) -> None:
    root = listed(sound, "gh")
    assert run(root).notes == ()
    report = check(root, splits=True, jobs=1, quiet=True)
    assert report.findings == ()
    assert report.notes == (
        "patients in both splits: not looked at; give --patient-pattern.",
        "crops by the label: not judged, which needs 8 labelled scans.",
    )
    (root / "train.list").unlink()
    (root / "test.list").unlink()
    report = check(root, splits=True, jobs=1, quiet=True)
    assert report.notes[0] == "test scans: there are none, so no split could leak."


def test_a_patient_in_both_splits_is_an_error(sound: Path) -> None:
    for name in "bg":
        for path in sound.glob(f"*/{name}.nii.gz"):
            path.rename(path.with_name(f"p7_{name}.nii.gz"))
    root = listed(sound, "h")
    (root / "train.list").write_text("a\np7_b\nc\nd\ne\nf\n", encoding="utf-8")
    (root / "test.list").write_text("p7_g\nh\n", encoding="utf-8")
    found = only(check(root, splits=True, patient=r"^(p\d+)_", jobs=1, quiet=True))
    assert (found.severity, found.kind) == ("error", "patient in both")
    assert found.message.startswith("patient p7: p7_b for training, p7_g for testing. Put all")
    with pytest.raises(SimcvdError, match="matches no scan; they are called a, c, d"):
        check(root, splits=True, patient="xyz", jobs=1, quiet=True)


def test_scans_cut_around_their_label_are_a_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(10):
        label = np.zeros((16 + i, 14, 10), np.uint8)
        label[2 : -6 - i % 2, 4:9, 1:5] = 1  # margins of 2 and 6 or 7 voxels, whatever its length
        scan = rng.integers(0, 100, label.shape).astype(np.int16) + 50 * label
        save(tmp_path / "images" / f"s{i}.nii.gz", scan)
        save(tmp_path / "labels" / f"s{i}.nii.gz", label)
    report = check(tmp_path, splits=True, jobs=1, quiet=True)
    (found,) = (f for f in report.findings if f.kind == "cropped by label")
    assert found.severity == "warning"
    assert "along X the scan's length follows the label's (correlation 0.98)" in found.message
    assert not [f for f in run(tmp_path).findings if f.kind == "cropped by label"]


def test_the_command_writes_what_the_splits_show(sound: Path, tmp_path: Path) -> None:
    root = listed(sound, "gh")
    command = [sys.executable, "-m", "simcvd.cli", "check", str(root), "--workers", "1"]
    report = tmp_path / "report.json"
    asked = [*command, "--splits", "--patient-pattern", "[ag]", "--json", str(report)]
    done = subprocess.run(asked, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not judged, which needs 8 labelled scans" in done.stdout
    written = json.loads(report.read_text(encoding="utf-8"))
    assert written["notes"] == ["crops by the label: not judged, which needs 8 labelled scans."]
