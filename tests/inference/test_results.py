"""A folder of segmentations goes on where it stopped, and no row or corrected mask is lost."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from rich.console import Console
from tests.inference.tools import OBLIQUE, blob, small_vnet, spec

from simcvd.inference import predict
from simcvd.inference.model import save_model
from simcvd.inference.predict import predict_files
from simcvd.inference.scan import Wanted
from simcvd.layouts.records import SourceCase
from simcvd.pipeline.segment import segment_all
from simcvd.types import DoneInPart, SimcvdError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_model(tmp_path / "run", small_vnet(), spec())
    return tmp_path / "run"


def scan(folder: Path, name: str, seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(blob(seed=seed)[0], OBLIQUE), folder / f"{name}.nii.gz")
    return folder / f"{name}.nii.gz"


def table(out: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO((out / "predictions.csv").read_text(encoding="utf-8"))))


class Counted:
    """Stands in for `predict_job` and remembers which scans it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self._real = predict.predict_job
        monkeypatch.setattr(predict, "predict_job", self)

    def __call__(self, model: object, job: object, *rest: object) -> object:
        self.names.append(job.name)  # type: ignore[attr-defined]
        return self._real(model, job, *rest)  # type: ignore[arg-type]

    def taken(self) -> list[str]:
        names, self.names = self.names, []
        return names


def test_a_second_call_keeps_the_first_one_s_rows(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("a", "=b"):
        predict_files(run, [scan(tmp_path / "scans", name)], out, device="cpu")
    assert [row[:2] for row in table(out)] == [
        ["case", "file"],
        ["'=b", "'=b.nii.gz"],
        ["a", "a.nii.gz"],
    ]
    once = (out / "predictions.csv").read_bytes()
    predict_files(run, [tmp_path / "scans" / "=b.nii.gz"], out, device="cpu", stride=(4, 4, 2))
    assert len(table(out)) == 3  # the same file again replaces its row
    predict_files(run, [tmp_path / "scans" / "=b.nii.gz"], out, device="cpu")
    assert (out / "predictions.csv").read_bytes() == once


def test_models_of_other_classes_share_a_table(run: Path, tmp_path: Path) -> None:
    save_model(
        tmp_path / "other", small_vnet(), spec(class_names={0: "background", 1: "x", 2: "blood"})
    )
    for model, name in ((run, "a"), (tmp_path / "other", "b")):
        predict_files(model, [scan(tmp_path / "scans", name)], tmp_path / "out", device="cpu")
    head, first, second = table(tmp_path / "out")
    found, again = (dict(zip(head, row, strict=True)) for row in (first, second))
    assert head[3:] == [
        *("wall (ml)", "blood (ml)", "wall (pieces)", "blood (pieces)", "x (ml)", "x (pieces)"),
    ]
    assert found["x (ml)"] == again["wall (ml)"] == ""
    assert found["wall (ml)"] == again["x (ml)"]  # one network, so the same volumes
    assert found["blood (ml)"] == again["blood (ml)"]


def test_only_what_is_missing_or_was_made_otherwise_is_segmented(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, out, done = tmp_path / "scans", tmp_path / "out", Counted(monkeypatch)
    a, b = scan(scans, "a"), scan(scans, "b", seed=1)
    predict_files(run, [a, b], out, device="cpu")
    assert done.taken() == ["a", "b"]
    written = predict_files(run, [a, b], out, device="cpu")
    assert (done.taken(), [p.name for p in written]) == ([], ["a.nii.gz", "b.nii.gz"])
    (out / "a.nii.gz").unlink()
    predict_files(run, [a, b], out, device="cpu")
    assert done.taken() == ["a"]
    scan(scans, "b", seed=2)  # the scan was replaced
    predict_files(run, [a, b], out, device="cpu")
    assert done.taken() == ["b"]
    predict_files(run, [a, b], out, device="cpu", wanted=Wanted(entropy=True))
    assert done.taken() == ["a", "b"]
    save_model(run, small_vnet(seed=1), spec())
    predict_files(run, [a, b], out, device="cpu")
    assert done.taken() == ["a", "b"]


def test_a_scan_that_went_bad_after_it_was_segmented_stops_no_other(
    run: Path, tmp_path: Path
) -> None:
    a, b = scan(tmp_path / "scans", "a"), scan(tmp_path / "scans", "b")
    predict_files(run, [a], tmp_path / "out", device="cpu")
    a.unlink()
    with pytest.raises(DoneInPart, match=r"1 of 2 scans.*\n.*a\.nii\.gz: there is no such file"):
        predict_files(run, [a, b], tmp_path / "out", device="cpu")
    assert (tmp_path / "out" / "b.nii.gz").exists()


def test_a_mask_corrected_by_hand_is_kept_and_named(run: Path, tmp_path: Path) -> None:
    a, out, said = scan(tmp_path / "scans", "a"), tmp_path / "out", io.StringIO()
    predict_files(run, [a], out, device="cpu")
    corrected = nibabel.Nifti1Image(np.ones((18, 15, 12), np.uint8), OBLIQUE)
    nibabel.save(corrected, out / "a.nii.gz")
    before = (out / "a.nii.gz").read_bytes()
    save_model(run, small_vnet(seed=1), spec())
    console = Console(file=said, width=500)
    predict_files(run, [a], out, device="cpu", console=console)
    segment_all(run, [SourceCase(name="a", images=(a,), label=None)], out, console)
    assert (out / "a.nii.gz").read_bytes() == before
    assert said.getvalue().count("a.nii.gz changed since written: kept as they are") == 2


def test_a_run_s_masks_of_before_are_never_removed(run: Path, tmp_path: Path) -> None:
    """Nothing tells whether a mask of an earlier version was corrected."""
    a, out, said = scan(tmp_path / "scans", "a"), tmp_path / "predictions", io.StringIO()
    out.mkdir()
    (out / ".model").write_text("0" * 64)
    (out / "a.nii.gz").write_bytes(b"of before")
    (out / "notes.txt").write_text("mine")
    cases = [SourceCase(name=n, images=(a,), label=None) for n in ("a", "b")]
    segment_all(run, cases, out, Console(file=said, width=500))
    assert (out / "a.nii.gz").read_bytes() == b"of before"
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "b.nii.gz").exists()
    assert "a.nii.gz were there already: kept as they are" in said.getvalue()


def test_two_at_once_keep_all_rows(run: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom simcvd.inference.predict import predict_files\n"
        "model, out, *scans = map(Path, sys.argv[1:])\n"
        "predict_files(model, scans, out, device='cpu')"
    )
    scans = [scan(tmp_path / "scans", name) for name in "abcdefgh"]
    halves = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                program,
                str(run),
                str(tmp_path / "out"),
                *map(str, scans[i::2]),
            ],
            stderr=subprocess.DEVNULL,
        )
        for i in (0, 1)
    ]
    assert [process.wait() for process in halves] == [0, 0]
    assert sorted(row[0] for row in table(tmp_path / "out")[1:]) == list("abcdefgh")
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {".rows", "predictions.csv", *(f"{n}.nii.gz" for n in "abcdefgh")}


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), KeyError("x"), torch.OutOfMemoryError("GPU")]
)
def test_whatever_goes_wrong_with_one_scan_stops_no_other(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = predict.predict_job

    def job(model: object, job: object, *rest: object) -> object:
        if job.name == "a":  # type: ignore[attr-defined]
            raise error
        return real(model, job, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(predict, "predict_job", job)
    a, b = scan(tmp_path / "scans", "a"), scan(tmp_path / "scans", "b")
    for out, segment in (
        (tmp_path / "one", lambda out: predict_files(run, [a, b], out, device="cpu")),
        (
            tmp_path / "two",
            lambda out: segment_all(
                run,
                [SourceCase(name=p.name[0], images=(p,), label=None) for p in (a, b)],
                out,
                Console(quiet=True),
            ),
        ),
    ):
        with pytest.raises(
            DoneInPart, match=r"1 of 2 scans could not be segmented.*\n.*a\.nii\.gz"
        ):
            segment(out)
        assert (out / "b.nii.gz").exists()
    with pytest.raises(SimcvdError) as caught:
        predict_files(run, [a], tmp_path / "three", device="cpu")
    assert (caught.value.exit_code, DoneInPart.exit_code) == (1, 3)


def test_a_table_of_somebody_else_s_is_refused_before_any_work(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for content in (b"name;age\nx;3\n", b"\xff\xfe", b""):
        (tmp_path / "out" / "predictions.csv").write_bytes(content)
        with pytest.raises(SimcvdError, match=r"predictions\.csv: .* move it away"):
            predict_files(run, [scan(tmp_path / "scans", "a")], tmp_path / "out", device="cpu")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["predictions.csv"]
    os.remove(tmp_path / "out" / "predictions.csv")
