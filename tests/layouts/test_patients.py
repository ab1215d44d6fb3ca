"""Whose scan is whose, and folds that keep a patient on one side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.conftest import ball, noise, save
from tests.data.dicom_series import write_series

from simcvd.layouts.patients import Fold, folds_by_patient, patients_of
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import Source, SourceCase
from simcvd.types import SimcvdError

STRAIGHT = np.diag([-1.0, -1.0, 2.0, 1.0])


def source(**labelled: bool) -> Source:
    """A data set of the given scans; patients are what stands before the underscore."""
    cases = {
        name: SourceCase(
            name=name,
            images=(Path(name),),
            label=Path(name) if has else None,
            patient=name.partition("_")[0],
        )
        for name, has in labelled.items()
    }
    return Source(kind="", description="", cases=cases, train=tuple(cases))


VISITS = source(A_1=True, A_2=True, B_1=True, B_2=True, C_1=True, C_2=True, C_3=False, D_1=False)


def test_folds_by_hand() -> None:
    # Patients A, B and C have two labelled scans each: A goes to the first fold, B to the second,
    # C to the first again, as both then hold two. C_3 must not be learnt from where C is held out.
    assert folds_by_patient(VISITS, 2) == [
        Fold(
            labeled=("B_1", "B_2"),
            unlabeled=("D_1",),
            holdout=("A_1", "A_2", "C_1", "C_2"),
            left_out=("C_3",),
        ),
        Fold(
            labeled=("A_1", "A_2", "C_1", "C_2"),
            unlabeled=("C_3", "D_1"),
            holdout=("B_1", "B_2"),
            left_out=(),
        ),
    ]


@pytest.mark.parametrize("count", [2, 3])
def test_every_fold_keeps_a_patient_on_one_side(count: int) -> None:
    folds = folds_by_patient(VISITS, count)
    held = [name for fold in folds for name in fold.holdout]
    assert sorted(held) == ["A_1", "A_2", "B_1", "B_2", "C_1", "C_2"]
    for fold in folds:
        learnt = {name[0] for name in (*fold.labeled, *fold.unlabeled)}
        assert not learnt & {name[0] for name in (*fold.holdout, *fold.left_out)}
        assert len({*fold.labeled, *fold.unlabeled, *fold.holdout, *fold.left_out}) == 8


def test_too_few_patients_for_the_folds() -> None:
    with pytest.raises(SimcvdError, match="3 patients have a labelled scan, too few for 4 folds"):
        folds_by_patient(VISITS, 4)


def test_a_pattern_goes_before_what_files_say() -> None:
    cases = {n: SourceCase(name=n, images=(), label=None, patient="x") for n in ("s1_a", "s1_b")}
    cases["t2_a"] = SourceCase(name="t2_a", images=(), label=None, patient="y")
    assert patients_of(cases) == {"s1_a": "x", "s1_b": "x", "t2_a": "y"}
    assert patients_of(cases, r"_(\w)") == {"s1_a": "a", "s1_b": "b", "t2_a": "a"}
    assert patients_of(cases, r"s\d") == {"s1_a": "s1", "s1_b": "s1", "t2_a": "y"}
    with pytest.raises(SimcvdError, match="matches no scan; they are called s1_a"):
        patients_of(cases, "q")
    with pytest.raises(SimcvdError, match="of --patient-pattern is not a regular expression"):
        patients_of(cases, "(")


def test_bids_names_tell_and_one_id_for_all_tells_nothing() -> None:
    def alone(*names: str, patient: str = "") -> dict[str, SourceCase]:
        return {n: SourceCase(name=n, images=(), label=None, patient=patient) for n in names}

    assert patients_of(alone("sub-1_ses-a", "sub-1_ses-b", "p3")) == {
        "sub-1_ses-a": "sub-1",
        "sub-1_ses-b": "sub-1",
        "p3": "p3",
    }
    assert patients_of(alone("p1", "p2", patient="ANONYMOUS")) == {"p1": "p1", "p2": "p2"}


def test_dicom_tells_the_patient(tmp_path: Path) -> None:
    for seed, (name, patient) in enumerate((("v1", "P1"), ("v2", "P1"), ("w1", "P2"))):
        tags = {"t0010x0020": patient, "t0020x000e": f"1.{seed}"}
        write_series(tmp_path / "images" / name, noise(seed), STRAIGHT, **tags)
    save(tmp_path / "labels" / "v1.nii.gz", ball(), STRAIGHT)
    (tmp_path / "test.list").write_text("v2\n")
    found = recognise(tmp_path)
    assert [found.cases[n].patient for n in ("v1", "v2", "w1")] == ["P1", "P1", "P2"]
    assert found.problems == found.leaks
    assert found.leaks[0].startswith("patient P1: v1 for training, v2 for testing.")
    assert recognise(tmp_path, patient="(..)").leaks == ()


def test_names_that_look_like_visits_are_said(tmp_path: Path) -> None:
    for seed, name in enumerate(("A_v1", "A_v2", "B_v1")):
        save(tmp_path / f"{name}.nii.gz", noise(seed))
    (note,) = recognise(tmp_path, or_scans=True).notes
    assert note.startswith("A_v1, A_v2 may be scans of one patient; give --patient-pattern")
    assert recognise(tmp_path, patient="(.)_", or_scans=True).notes == ()
    for name in ("case_1", "case_2", "case_3"):
        save(tmp_path / "other" / f"{name}.nii.gz", noise(0))
    assert recognise(tmp_path / "other", or_scans=True).notes == ()
