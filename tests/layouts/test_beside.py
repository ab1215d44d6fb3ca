"""Labels beside their scans, told by their names: public layouts and one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.conftest import ball, noise, save

from simcvd.data.prepare import prepare
from simcvd.layouts.recognise import every_scan, recognise
from simcvd.types import SimcvdError


def scans(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        save(root / f"{name}.nii.gz", noise(seed))
    return root


def labels(root: Path, *names: str) -> Path:
    for name in names:
        save(root / f"{name}.nii.gz", ball())
    return root


def paired(root: Path, **settings: object) -> dict[str, str | None]:
    found = recognise(root, **settings)  # type: ignore[arg-type]
    assert found.problems == ()
    assert all(file.use != "passed over" for file in found.files), found.files
    return {
        name: str(case.label.relative_to(root)) if case.label else None
        for name, case in found.cases.items()
    }


@pytest.mark.parametrize("ending", ["_seg", "-label", "_mask", "_dseg", "_segmentation", ".seg"])
def test_one_folder_of_scans_and_labels(tmp_path: Path, ending: str) -> None:
    scans(tmp_path, "p1", "p2", "p3")
    labels(tmp_path, f"p1{ending}", f"p3{ending}")
    assert paired(tmp_path) == {
        "p1": f"p1{ending}.nii.gz",
        "p2": None,
        "p3": f"p3{ending}.nii.gz",
    }


@pytest.mark.parametrize("ending", ["_seg", "-label", "_mask", "_dseg", "_gt"])
def test_two_folders_with_endings(tmp_path: Path, ending: str) -> None:
    scans(tmp_path / "images", "p1", "p2")
    labels(tmp_path / "labels", f"p1{ending}")
    assert paired(tmp_path) == {"p1": f"labels/p1{ending}.nii.gz", "p2": None}


@pytest.mark.parametrize("called", ["Labels", "LABELS", "masks", "segmentations"])
def test_the_folder_of_labels_under_other_names(tmp_path: Path, called: str) -> None:
    scans(tmp_path / "Images", "p1")
    labels(tmp_path / called, "p1")
    assert paired(tmp_path) == {"p1": f"{called}/p1.nii.gz"}
    assert f"with labels of {called}/" in recognise(tmp_path).description


def test_two_folders_that_may_be_labels(tmp_path: Path) -> None:
    scans(tmp_path / "images", "p1")
    labels(tmp_path / "masks", "p1")
    labels(tmp_path / "Labels", "p1")
    with pytest.raises(SimcvdError, match="Labels, masks may all be labels; say which"):
        recognise(tmp_path)


def test_that_there_is_no_folder_of_labels_is_said(tmp_path: Path) -> None:
    scans(tmp_path / "images", "p1")
    assert "labels/ (there is no such folder)" in recognise(tmp_path).description


def test_a_folder_a_patient_is_no_folder_of_classes(tmp_path: Path) -> None:
    scans(tmp_path / "images", "p0", "p1", "p2")
    for name in ("p0", "p1"):
        labels(tmp_path / "labels" / name, f"{name}_seg")
    assert paired(tmp_path) == {
        "p0": "labels/p0/p0_seg.nii.gz",
        "p1": "labels/p1/p1_seg.nii.gz",
        "p2": None,
    }
    assert recognise(tmp_path).labels is None


def test_masks_called_by_scan_and_class(tmp_path: Path) -> None:
    scans(tmp_path / "images", "p0", "p1")
    for name in ("p0", "p1"):
        labels(tmp_path / "labels" / name, f"{name}_OAR_eye", f"{name}_OAR_lens.seg")
    found = recognise(tmp_path)
    assert found.labels == {0: "background", 1: "OAR_eye", 2: "OAR_lens"}
    assert [value for value, _ in found.cases["p1"].masks] == [1, 2]


def test_masks_that_no_two_scans_share_are_refused(tmp_path: Path) -> None:
    scans(tmp_path / "images", "p0", "p1")
    labels(tmp_path / "labels" / "p0", "drawn_by_anna")
    labels(tmp_path / "labels" / "p1", "second_try")
    (problem,) = recognise(tmp_path).problems
    assert "no class has a mask in two scans" in problem
    assert "drawn_by_anna.nii.gz" in problem


def test_lits_numbers_scans_and_labels_by_words_in_front(tmp_path: Path) -> None:
    scans(tmp_path / "images", "volume-0", "volume-10")
    labels(tmp_path / "labels", "segmentation-10")
    assert paired(tmp_path) == {"volume-0": None, "volume-10": "labels/segmentation-10.nii.gz"}


def test_a_label_that_two_scans_may_have_is_of_none(tmp_path: Path) -> None:
    scans(tmp_path / "images", "p1_ct", "p1_mr", "p2_ct")
    labels(tmp_path / "labels", "p1_seg", "p2_seg")
    found = recognise(tmp_path)
    assert {n: bool(case.label) for n, case in found.cases.items()} == {
        "p1_ct": False,
        "p1_mr": False,
        "p2_ct": True,
    }
    assert "1 labels have no scan and are left out: p1_seg" in found.notes


def test_kits(tmp_path: Path) -> None:
    for name in ("case_00000", "case_00001", "case_00002"):
        scans(tmp_path / name, "imaging")
    for name in ("case_00000", "case_00002"):
        labels(tmp_path / name, "segmentation")
    expected = {
        "case_00000": "case_00000/segmentation.nii.gz",
        "case_00001": None,
        "case_00002": "case_00002/segmentation.nii.gz",
    }
    assert paired(tmp_path) == expected
    assert paired(tmp_path, labels=tmp_path) == expected
    found = recognise(tmp_path)
    assert (found.kind, found.channel_names) == ("kits", ("CT",))
    assert found.preprocessing.normalization == "ct"


def test_total_segmentator(tmp_path: Path) -> None:
    for name in ("s0000", "s0001", "s0002"):
        scans(tmp_path / name, "ct")
    for name in ("s0000", "s0001"):
        save(tmp_path / name / "segmentations" / "spleen.nii.gz", ball() - ball(radius=1.5))
        save(tmp_path / name / "segmentations" / "liver.nii.gz", ball(radius=1.5))
    found = recognise(tmp_path)
    assert found.kind == "total-segmentator"
    assert found.labels == {0: "background", 1: "liver", 2: "spleen"}
    assert {n: len(case.masks) for n, case in found.cases.items()} == {
        "s0000": 2,
        "s0001": 2,
        "s0002": 0,
    }
    cache = prepare(tmp_path, tmp_path.parent / "cache", jobs=1, quiet=True)
    assert np.array_equal(cache.case("s0001").label, 2 * ball() - ball(radius=1.5))


def test_one_case_of_total_segmentator_is_called_by_its_folder(tmp_path: Path) -> None:
    scans(tmp_path / "s0000", "ct")
    labels(tmp_path / "s0000" / "segmentations", "liver")
    assert set(recognise(tmp_path).cases) == {"s0000"}


def test_cases_in_deeper_folders(tmp_path: Path) -> None:
    for name in ("s1", "s2"):
        scans(tmp_path / "train" / name, "ct")
        labels(tmp_path / "train" / name / "segmentations", "liver", "spleen")
    found = recognise(tmp_path)
    assert set(found.cases) == {"s1", "s2"}
    assert all(len(case.masks) == 2 for case in found.cases.values())


def test_brats_has_a_folder_a_case_and_a_file_a_channel(tmp_path: Path) -> None:
    for name in ("B1", "B2", "B3"):
        scans(tmp_path / name, *(f"{name}_{kind}" for kind in ("t1", "t1ce", "flair")))
    for name in ("B1", "B3"):
        labels(tmp_path / name, f"{name}_seg")
    assert paired(tmp_path) == {"B1": "B1/B1_seg.nii.gz", "B2": None, "B3": "B3/B3_seg.nii.gz"}
    found = recognise(tmp_path)
    assert found.channel_names == ("flair", "t1", "t1ce")
    assert [path.name for path in found.cases["B2"].images] == [
        "B2_flair.nii.gz",
        "B2_t1.nii.gz",
        "B2_t1ce.nii.gz",
    ]
    (tmp_path / "B2" / "B2_t1.nii.gz").unlink()
    assert "scan 'B2' has no channel t1" in " ".join(recognise(tmp_path).problems)


def test_words_alone_make_no_label(tmp_path: Path) -> None:
    """Without a scan to be the label of, a file called like a label is a scan."""
    scans(tmp_path / "images", "p1_mask", "p2_mask", "p3_mask")
    labels(tmp_path / "labels", "p1_mask", "p2_mask")
    assert paired(tmp_path) == {
        "p1_mask": "labels/p1_mask.nii.gz",
        "p2_mask": "labels/p2_mask.nii.gz",
        "p3_mask": None,
    }


def test_names_by_a_pattern(tmp_path: Path) -> None:
    scans(tmp_path / "a", "scan_of_7_first", "scan_of_8_first", "localizer")
    labels(tmp_path / "b", "2024-7-final", "2024-9-final")
    pattern = r"(?:of_|2024-)(\d)"
    found = recognise(tmp_path / "a", tmp_path / "b", names=pattern)
    assert {n: bool(case.label) for n, case in found.cases.items()} == {"7": True, "8": False}
    left = {file.path.name: file.what for file in found.files if file.use == "passed over"}
    assert left == {
        "localizer.nii.gz": "its path does not match --names",
        "2024-9-final.nii.gz": "a label of no scan",
    }
    (problem,) = recognise(tmp_path / "a", tmp_path / "b", names="(first)").problems[:1]
    assert "2 scans are called 'first' by --names" in problem
    with pytest.raises(SimcvdError, match="'\\(' of --names is not a regular expression"):
        recognise(tmp_path / "a", tmp_path / "b", names="(")


def test_something_that_may_be_meant_as_the_label_of_an_unlabelled_scan(tmp_path: Path) -> None:
    scans(tmp_path / "images", "p1", "p2")
    labels(tmp_path / "labels", "p1")
    (tmp_path / "labels" / "p2.png").write_bytes(b"x")
    (note,) = recognise(tmp_path).notes
    assert note.startswith("p2 counts as unlabelled, but there is ")
    assert note.endswith("labels/p2.png, of no known format (.png)")


def test_the_scans_of_a_data_set_are_segmented_not_its_labels(tmp_path: Path) -> None:
    scans(tmp_path / "d", "p1", "p2")
    labels(tmp_path / "d", "p1_seg")
    assert set(every_scan(tmp_path / "d", apart_from=tmp_path / "out").cases) == {"p1", "p2"}
    nested = tmp_path / "n"
    for name in ("p1", "p2"):
        scans(nested / name, "t1")
    scans(nested / "out", "p1")
    assert set(every_scan(nested, apart_from=nested / "out").cases) == {"p1", "p2"}
