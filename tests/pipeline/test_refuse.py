"""What is known before the first training is said before it."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from tests.data.dicom_series import write_series
from tests.small import make_cache, write_scans

from simcvd.checking.check import examine_all
from simcvd.files import write_json, write_text
from simcvd.formats.dicom_seg_write import writer
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import SourceCase
from simcvd.pipeline import beginning, run
from simcvd.pipeline.presets import QUICK
from simcvd.pipeline.refuse import refuse_full_disk
from simcvd.pipeline.request import ASKED, Request
from simcvd.pipeline.segment import jobs_of
from simcvd.types import SimcvdError

FRAME = {"t0020x0052": "1.2.826.0.1.3680043.2.1125.7"}
VOXELS = np.random.default_rng(0).integers(0, 100, (8, 6, 4))
PLAIN = np.diag([1.0, 1.0, 2.0, 1.0])


def test_a_disk_that_the_results_would_fill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 scans of 20 x 18 x 12 voxels, 3 bytes each: 103,680 bytes."""
    make_cache(tmp_path)
    facts = examine_all(recognise(tmp_path / "scans", None), 1, "checking", quiet=True)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(103_680))
    refuse_full_disk(tmp_path / "not" / "yet", facts)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(103_679))
    with pytest.raises(SimcvdError, match=r"million voxels takes about .* another disk"):
        refuse_full_disk(tmp_path / "not" / "yet", facts)


def test_a_plan_that_is_none_is_told_before_scans_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scans(tmp_path / "scans", labels=3)
    write_text(tmp_path / "work" / "plan.toml", "iterations = 6.0\n")
    monkeypatch.setattr(beginning, "examine_all", lambda *_, **__: pytest.fail("scans were read"))
    with pytest.raises(SimcvdError, match=r"plan\.toml: is not a plan \(iterations is 6\.0"):
        run(tmp_path / "scans", tmp_path / "work")


def test_a_series_without_a_frame_of_reference_is_answered_in_nifti(tmp_path: Path) -> None:
    write_series(tmp_path / "whole", VOXELS, PLAIN, **FRAME)
    write_series(tmp_path / "bare", VOXELS, PLAIN)
    cases = [
        SourceCase(name=name, images=(tmp_path / name,), label=None) for name in ("whole", "bare")
    ]
    jobs, notes = jobs_of(cases, tmp_path / "out")
    assert [job.target.name for job in jobs] == ["whole.dcm", "bare.nii.gz"]
    (note,) = notes
    assert note.startswith("bare will be segmented into NIfTI: ")
    assert "FrameOfReferenceUID" in note


def test_a_birth_date_that_is_none_is_left_empty(tmp_path: Path) -> None:
    tags = {**FRAME, "t0010x0030": "00/00/0000", "t0008x0020": "20200131"}
    write_series(tmp_path / "ct", VOXELS, PLAIN, **tags)
    names = {0: "background", 1: "object"}
    writer(tmp_path / "ct")(tmp_path / "a.dcm", (VOXELS > 50).astype(np.uint8), PLAIN, names)
    written = pydicom.dcmread(tmp_path / "a.dcm")
    assert not written.PatientBirthDate
    assert written.StudyDate == "20200131"


@pytest.mark.parametrize("place", ["work", "images/work", "labels/work"])
def test_a_folder_among_the_data_is_never_read_as_data(tmp_path: Path, place: str) -> None:
    make_cache(tmp_path)
    root = tmp_path / "scans"
    asked = Request(images=root, labels=root / "labels", work=root / place, preset=QUICK)
    asked.refuse_folder()
    asked.work.mkdir()
    before, touched = asked.recognised(), asked.files()
    for made, source in (("predictions", "images"), ("labels", "labels")):
        (asked.work / made).mkdir()
        for path in (root / source).glob("*.nii.gz"):
            shutil.copy2(path, asked.work / made)
    with pytest.raises(SimcvdError, match=r"holds other files \(labels, predictions\) and no run"):
        asked.refuse_folder()
    write_json(asked.work / "run.json", ASKED.content(asked.record()))
    asked.refuse_folder()
    after = replace(asked, work=tmp_path / "none").recognised()  # the labels drawn there apart
    assert (after.cases, after.notes, after.problems) == (
        before.cases,
        before.notes,
        before.problems,
    )
    (passed,) = [use.what for use in after.files if use.path == asked.work]
    assert passed.startswith("a folder of simcvd run, ")
    shutil.rmtree(asked.drawn)  # whose files count
    assert asked.files() == touched


@pytest.mark.parametrize("name", ["labels", "Segmentations", "images"])
def test_a_folder_that_would_be_taken_for_data(tmp_path: Path, name: str) -> None:
    asked = Request(images=tmp_path, labels=None, work=tmp_path / name, preset=QUICK)
    with pytest.raises(SimcvdError, match=r"called like a folder of scans or labels.*another name"):
        asked.refuse_folder()


@pytest.mark.parametrize("name", ["a.nii", "a.nii/work/deeper"])
def test_a_file_in_the_place_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.nii").write_text("mine")
    asked = Request(images=tmp_path / "b", labels=None, work=tmp_path / name, preset=QUICK)
    with pytest.raises(SimcvdError, match=r"a\.nii is a file; give --out a folder"):
        asked.refuse_folder()
