"""nnU-Net's layout, held against the files that were converted."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from simcvd.share.nnunet import to_nnunet
from simcvd.types import SimcvdError

AFFINE = np.array([[-0.8, 0.1, 0, 20], [0.1, 0.8, 0, -7], [0, 0, 2.5, 3], [0, 0, 0, 1]])
SHAPE = (7, 6, 5)


def image(index: int) -> np.ndarray:
    return np.random.default_rng(index).normal(100, 30, SHAPE).astype(np.float32)


def label() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 2:5, 1:3] = 5
    array[4:6, 1:3, 2:5] = 17
    return array


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two labelled scans, one of the test list with its label, one without any."""
    root = tmp_path / "scans"
    for index, name in enumerate("abtu"):
        save(root / "images" / f"{name}.nii.gz", image(index))
    for name in "at":
        save(root / "labels" / f"{name}.nii.gz", label())
    turned = AFFINE @ np.diag([-1, 1, 1, 1])
    turned[:3, 3] = AFFINE[:3, 3] + AFFINE[:3, 0] * (SHAPE[0] - 1)
    save(root / "labels" / "b.nii.gz", label()[::-1], turned)  # the same voxels, stored backwards
    (root / "train.list").write_text("a\nb\nu\n")
    (root / "test.list").write_text("t\n")
    return root


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    file = nibabel.load(path)
    return np.asarray(file.dataobj), file.affine


def test_scans_and_labels_keep_values_and_geometry(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "Dataset001_two"
    made = to_nnunet(scans, out, jobs=1)
    assert (made.train, made.test, made.unlabeled) == (2, 1, 1)
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.nii.gz"))
    assert files == [
        *("imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz"),
        *("imagesTs/t_0000.nii.gz", "imagesTs/u_0000.nii.gz"),
        *("labelsTr/a.nii.gz", "labelsTr/b.nii.gz", "labelsTs/t.nii.gz"),
    ]
    expected = np.select([label() == 5, label() == 17], [1, 2], 0)
    for index, name in enumerate("ab"):
        array, affine = read(out / "imagesTr" / f"{name}_0000.nii.gz")
        np.testing.assert_array_equal(array, image(index))
        np.testing.assert_allclose(affine, AFFINE, atol=1e-6)
        classes, grid = read(out / "labelsTr" / f"{name}.nii.gz")
        np.testing.assert_array_equal(classes, expected)
        np.testing.assert_array_equal(grid, affine)


def test_the_record_is_what_nnunet_reads(scans: Path, tmp_path: Path) -> None:
    to_nnunet(scans, tmp_path / "out", jobs=1)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, "class 5": 1, "class 17": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }


def test_channels_of_one_file_become_files(tmp_path: Path) -> None:
    root = tmp_path / "task"
    both = np.stack([image(0), image(1)], axis=-1)
    save(root / "imagesTr" / "a.nii.gz", both)
    save(root / "labelsTr" / "a.nii.gz", label())
    declared = {
        "modality": {"0": "T1", "1": "T2"},
        "labels": {"0": "background", "5": "liver", "17": "spleen"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(declared))
    to_nnunet(root, tmp_path / "out", jobs=1)
    for channel in range(2):
        array, _ = read(tmp_path / "out" / "imagesTr" / f"a_000{channel}.nii.gz")
        np.testing.assert_array_equal(array, both[..., channel])
    record = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert record["channel_names"] == {"0": "T1", "1": "T2"}
    assert record["labels"] == {"background": 0, "liver": 1, "spleen": 2}


def test_its_result_is_read_back(scans: Path, tmp_path: Path) -> None:
    """The folder is of a layout that is recognised here, with the same scans labelled."""
    from simcvd.layouts.recognise import recognise

    to_nnunet(scans, tmp_path / "out", jobs=1)
    found = recognise(tmp_path / "out")
    assert {n for n, case in found.cases.items() if case.label and n not in found.test} == {*"ab"}
    assert {*found.test} | {n for n, c in found.cases.items() if not c.label} == {*"tu"}


def test_typed_again_it_writes_the_same(scans: Path, tmp_path: Path) -> None:
    to_nnunet(scans, tmp_path / "out", jobs=1)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    to_nnunet(scans, tmp_path / "out", jobs=1)
    assert all(path.read_bytes() == data for path, data in before.items())


def test_other_files_are_not_mixed_with(scans: Path, tmp_path: Path) -> None:
    save(tmp_path / "out" / "imagesTr" / "old_0000.nii.gz", image(9))
    with pytest.raises(SimcvdError, match=r"holds other files \(imagesTr/old_0000"):
        to_nnunet(scans, tmp_path / "out", jobs=1)


@pytest.mark.parametrize("place", [".", "images/out", "labels"])
def test_a_folder_inside_the_data_is_refused(scans: Path, place: str) -> None:
    """Typed again, it would hold scans of the data set."""
    before = {path: path.read_bytes() for path in scans.rglob("*") if path.is_file()}
    with pytest.raises(SimcvdError, match=r"lies in .*elsewhere|holds other files"):
        to_nnunet(scans / "images", scans / place, labels=scans / "labels", jobs=1)
    with pytest.raises(SimcvdError, match=r"lies in .*Give --out a folder elsewhere"):
        to_nnunet(scans, scans / place, jobs=1)
    assert before == {path: path.read_bytes() for path in scans.rglob("*") if path.is_file()}


def test_names_that_nnunet_gives_a_meaning(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No class takes the place of the background, of another, or of what is ignored."""
    classes = {0: "void", 5: "background", 17: "ignore", 20: "fat", 21: "fat"}
    monkeypatch.setattr("simcvd.share.nnunet.find_classes", lambda *_: classes)
    to_nnunet(scans, tmp_path / "out", jobs=1)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "background (5)": 1,
        "ignore (17)": 2,
        "fat": 3,
        "fat (21)": 4,
    }


def test_a_file_in_the_place_of_the_folder(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(SimcvdError, match=r"cannot write .*out.*choose another place"):
        to_nnunet(scans, tmp_path / "out", jobs=1)
    assert (tmp_path / "out").read_text() == "mine"


def test_all_problems_are_told_and_no_record_is_left(scans: Path, tmp_path: Path) -> None:
    for name in "ab":
        save(scans / "labels" / f"{name}.nii.gz", label()[1:])
    with pytest.raises(SimcvdError) as told:
        to_nnunet(scans, tmp_path / "out", jobs=1)
    assert str(told.value).count("grid is not that of its scan") == 2
    assert not (tmp_path / "out" / "dataset.json").exists()
