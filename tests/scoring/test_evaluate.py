"""Two folders of label maps, scored and reported."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from simcvd.scoring.evaluate import evaluate_folders
from simcvd.scoring.record import write_report
from simcvd.scoring.scores import METRICS
from simcvd.types import SimcvdError

AFFINE = np.diag([-0.5, 0.5, 2.0, 1.0])  # left to right flipped, anisotropic


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(array.astype(np.uint8), affine), path)
        return
    image = SimpleITK.GetImageFromArray(array.T.astype(np.uint8))
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))


@pytest.fixture
def reference() -> np.ndarray:
    label = np.zeros((10, 9, 8), np.uint8)
    label[2:7, 2:7, 2:6] = 1
    label[4, 4, 3:5] = 2
    return label


@pytest.fixture
def folders(tmp_path: Path, reference: np.ndarray) -> tuple[Path, Path]:
    """Perfect ``a`` in three formats' mixture, empty ``b``, ``c`` without its class 2."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for name, ending in [("a", ".nii.gz"), ("b", ".nrrd"), ("c", ".mha")]:
        save(references / f"{name}{ending}", reference if name != "c" else reference == 1)
    save(predictions / "a.mha", reference)
    save(predictions / "b.nii", 0 * reference)
    save(predictions / "c.nii.gz", reference == 1)
    return predictions, references


def rows(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return {(row["case"], row["label"]): row for row in csv.DictReader(file)}


def test_report_of_two_folders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_report(evaluate_folders(*folders, jobs=1, quiet=True), tmp_path / "out")
    table = rows(tmp_path / "out")
    assert list(table) == [(case, label) for case in "abc" for label in "12"]
    assert table["a", "1"]["dice"] == "1"
    assert table["a", "2"]["hd95_pooled_mm"] == "0"
    assert table["b", "1"]["miss"] == "empty prediction"
    assert (table["b", "1"]["dice"], table["b", "1"]["assd_mm"]) == ("0", "")
    assert table["c", "2"]["miss"] == "absent"
    assert table["c", "2"]["dice"] == ""

    content = json.loads(
        (tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail
    )
    first = content["summary"][0]
    assert first["means"]["dice"]["mean"] == pytest.approx(2 / 3)
    assert (first["cases"], first["missed"], first["absent"]) == (3, 1, 0)
    assert content["scores"][2]["values"]["assd_mm"] is None

    text = (tmp_path / "out" / "metrics.md").read_text()
    assert "| Dice [%] | 66.67 |" in text
    assert "| 95HD, pooled [mm] | 0.00 | 0.00 to 0.00 | 2, 1 missed |" in text
    assert "| b | label 1 | empty prediction |" in text
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "metrics.csv",
        "metrics.json",
        "metrics.md",
    ]


def test_every_metric_is_in_the_table_with_its_convention(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    report = evaluate_folders(*folders, class_names={1: "chamber"}, jobs=1, quiet=True)
    write_report(report, tmp_path)
    lines = (tmp_path / "metrics.md").read_text().splitlines()
    table = [line for line in lines if line.endswith("|") and ("[" in line)]
    assert len(table) == len(METRICS)
    assert all("MedPy" in line or "MONAI" in line for line in table)


def test_distances_are_in_the_files_millimetres(tmp_path: Path, reference: np.ndarray) -> None:
    # Moved by one voxel in z, 2 mm: the reference's lower face of class 1 is 1 voxel off.
    save(tmp_path / "p" / "a.nii.gz", np.roll(reference == 1, 1, axis=2))
    save(tmp_path / "r" / "a.nii.gz", reference == 1)
    (score,) = evaluate_folders(tmp_path / "p", tmp_path / "r", jobs=1, quiet=True).scores
    assert score.values["hd95_directed_max_voxels"] == pytest.approx(1)
    assert score.values["hd95_directed_max_mm"] == pytest.approx(2)


def test_other_axis_order_of_the_same_grid_is_the_same(
    tmp_path: Path, reference: np.ndarray
) -> None:
    turned = nibabel.Nifti1Image(reference, AFFINE).as_reoriented(
        np.array([[2, -1], [0, 1], [1, -1]])
    )
    assert turned.shape != reference.shape
    save(tmp_path / "p" / "a.nii.gz", np.asarray(turned.dataobj), turned.affine)
    save(tmp_path / "r" / "a.nii.gz", reference)
    report = evaluate_folders(tmp_path / "p", tmp_path / "r", jobs=1, quiet=True)
    assert [score.values["dice"] for score in report.scores] == [1, 1]
    assert [score.values["assd_mm"] for score in report.scores] == [0, 0]


@pytest.mark.parametrize("change", ["shape", "spacing", "origin", "direction"])
def test_different_geometry_is_refused_and_both_shown(
    tmp_path: Path, reference: np.ndarray, change: str
) -> None:
    affine, label = AFFINE.copy(), reference
    if change == "shape":
        label = reference[:9]
    elif change == "spacing":
        affine[2, 2] = 2.1
    elif change == "origin":
        affine[:3, 3] = 0.3
    else:
        affine[0, 0] = 0.5
    save(tmp_path / "p" / "a.nii.gz", label, affine)
    save(tmp_path / "r" / "a.nii.gz", reference)
    with pytest.raises(SimcvdError, match=r"different grids.*spacing.*spacing") as error:
        evaluate_folders(tmp_path / "p", tmp_path / "r", jobs=1, quiet=True)
    assert str(tmp_path / "p" / "a.nii.gz") in str(error.value)
    assert str(tmp_path / "r" / "a.nii.gz") in str(error.value)


def test_unmatched_names_are_reported(folders: tuple[Path, Path], reference: np.ndarray) -> None:
    save(folders[0] / "only_predicted.nii.gz", reference)
    save(folders[1] / "only_reference.nii.gz", reference)
    notes = " ".join(evaluate_folders(*folders, jobs=1, quiet=True).notes)
    assert "1 predictions without a reference: only_predicted" in notes
    assert "1 references without a prediction: only_reference" in notes


def test_folders_that_cannot_be_compared(tmp_path: Path, reference: np.ndarray) -> None:
    save(tmp_path / "p" / "a.nii.gz", reference)
    save(tmp_path / "r" / "b.nii.gz", reference)
    with pytest.raises(SimcvdError, match=r"\(a\) has the name of one in .*\(b\)"):
        evaluate_folders(tmp_path / "p", tmp_path / "r")
    with pytest.raises(SimcvdError, match="nowhere: holds no label map"):
        evaluate_folders(tmp_path / "nowhere", tmp_path / "r")
    save(tmp_path / "p" / "a.mha", reference)
    with pytest.raises(SimcvdError, match="two files of one name, 'a'"):
        evaluate_folders(tmp_path / "p", tmp_path / "r")


def test_nothing_but_background_is_refused(tmp_path: Path, reference: np.ndarray) -> None:
    save(tmp_path / "p" / "a.nii.gz", 0 * reference)
    save(tmp_path / "r" / "a.nii.gz", 0 * reference)
    with pytest.raises(SimcvdError, match="nothing but background"):
        evaluate_folders(tmp_path / "p", tmp_path / "r", jobs=1, quiet=True)


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = evaluate_folders(*folders, jobs=1, quiet=True)
    write_report(report, tmp_path / "out")
    before = (tmp_path / "out" / "metrics.csv").read_text()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SimcvdError, match=r"metrics\.csv.*No space left"):
        write_report(report, tmp_path / "out")
    assert (tmp_path / "out" / "metrics.csv").read_text() == before
    assert len(list((tmp_path / "out").iterdir())) == 3
