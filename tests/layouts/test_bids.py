"""BIDS: scans by subject and session, labels in derivatives, names in a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.conftest import ball, noise, save

from simcvd.layouts.recognise import recognise
from simcvd.types import SimcvdError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two subjects, the first with two sessions; a label of one session and of the second."""
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    for place in ("sub-01/ses-a", "sub-01/ses-b", "sub-02/ses-a"):
        name = place.replace("/", "_")
        save(tmp_path / place / "anat" / f"{name}_T1w.nii.gz", noise(len(name)))
    for place in ("sub-01/ses-b", "sub-02/ses-a"):
        name = f"{place.replace('/', '_')}_space-T1w_desc-manual_dseg.nii.gz"
        save(tmp_path / "derivatives" / "manual" / place / "anat" / name, ball())
    return tmp_path


def test_labels_of_derivatives(root: Path) -> None:
    found = recognise(root)
    assert found.kind == "bids"
    assert {name: bool(case.label) for name, case in found.cases.items()} == {
        "sub-01_ses-a": False,
        "sub-01_ses-b": True,
        "sub-02_ses-a": True,
    }
    patients = {name: case.patient for name, case in found.cases.items()}
    assert patients["sub-01_ses-a"] == patients["sub-01_ses-b"] == "sub-01"
    assert {file.use for file in found.files} == {"scan", "label", "list"}


def test_a_table_names_the_values(root: Path) -> None:
    table = root / "derivatives" / "manual" / "desc-manual_dseg.tsv"
    for encoding in ("utf-8", "utf-8-sig"):
        table.write_text("index\tname\tcolor\n1\tnucleus\t#f00\n2\ttail\t#0f0\n", encoding)
        assert recognise(root).labels == {0: "background", 1: "nucleus", 2: "tail"}
    table.write_text("value\n1\n")
    with pytest.raises(SimcvdError, match="is not a table with columns index and name"):
        recognise(root)


def test_a_patient_in_both_lists_is_refused(root: Path) -> None:
    (root / "test.list").write_text("sub-01_ses-b\n")
    (problem,) = recognise(root).problems
    assert problem.startswith(
        "patient sub-01: sub-01_ses-a for training, sub-01_ses-b for testing. Put all"
    )


def test_several_kinds_of_scans_and_several_labels(root: Path) -> None:
    save(root / "sub-02" / "ses-a" / "anat" / "sub-02_ses-a_T2w.nii.gz", noise(5))
    assert "several kinds of scans (T1w, T2w)" in " ".join(recognise(root).problems)
    (root / "sub-02" / "ses-a" / "anat" / "sub-02_ses-a_T2w.nii.gz").unlink()
    place = root / "derivatives" / "auto" / "sub-02"
    save(place / "sub-02_ses-a_label-lesion_mask.nii.gz", ball())
    assert "sub-02_ses-a_T1w.nii.gz: has 2 labels" in " ".join(recognise(root).problems)
