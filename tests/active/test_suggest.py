"""`simcvd next` on a folder as `simcvd run` leaves it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from rich.console import Console
from tests.small import NETWORK, TRAIN, write_scans

import simcvd
from simcvd.active import suggest as module
from simcvd.active.kept import Kept, known_order
from simcvd.active.suggest import Advice, show, suggest
from simcvd.cli import main
from simcvd.data.prepare import prepare
from simcvd.files import LOCK
from simcvd.inference.model import DESCRIPTION
from simcvd.locks import locked
from simcvd.pipeline.rounds import Round, begin
from simcvd.review.round import Round as Reviewed
from simcvd.training.loop import train
from simcvd.types import SimcvdError

LABELED = 2
OPEN = tuple(f"case{i}" for i in range(LABELED, 6))
GIVEN = tuple(f"case{i}" for i in range(LABELED))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ``scans`` and ``work``: a final model, two folds, two labels of six."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("next")
    scans, work = write_scans(root / "scans", labels=LABELED), root / "work"
    prepare(scans, work / "cache", jobs=1, quiet=True)
    for out, labeled in (
        ("model", GIVEN),
        *((f"supervised/fold_{k}", (GIVEN[k],)) for k in (0, 1)),
    ):
        train(
            *(work / "cache", work / out),
            method="supervised",
            labeled=len(labeled),
            settings=("train.iterations=3", "train.precision=float32"),
            train=TRAIN,
            network=NETWORK,
            scans=(labeled, (), ()),
        )
    record = {"images": str(scans), "labels": None, "preset": "quick"}  # as the first version wrote
    (work / "run.json").write_text(json.dumps(record))
    yield root
    torch.set_num_threads(threads)


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """A copy of it to change; its scans too."""
    shutil.copytree(made, tmp_path / "copy")
    folder = tmp_path / "copy" / "work"
    path = folder / "run.json"
    record = json.loads(path.read_text()) | {"images": str(tmp_path / "copy" / "scans")}
    path.write_text(json.dumps(record))
    return folder


def label(work: Path, name: str, folder: Path) -> None:
    """A label of a scan that had none, all background but one voxel."""
    like = nibabel.load(work.parent / "scans" / "images" / f"{name}.nii.gz")
    array = np.zeros(like.shape, np.uint8)
    array[5, 5, 5] = 1
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, like.affine), folder / f"{name}.nii.gz")


def names(advice: Advice) -> set[str]:
    return {one.name for one in advice.choices}


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many members each call of `look` has."""
    calls: list[int] = []
    real = module.look

    def counted(*given: object) -> object:
        calls.append(len(given[3]))  # type: ignore[arg-type]
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "look", counted)
    return calls


def test_it_is_asked_once_of_each_scan_and_goes_on_where_it_stopped(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counting(monkeypatch)
    real = module.Kept.put

    def dies(self: Kept, name: str, *given: object, **named: object) -> None:
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(self, name, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module.Kept, "put", dies)
    with pytest.raises(KeyboardInterrupt):
        suggest(work)
    monkeypatch.setattr(module.Kept, "put", real)
    first = suggest(work)
    assert calls == [2, 2, 2, 2, 2, 0, 0]  # the third scan twice; labelled ones without members
    assert names(first) == set(OPEN)
    monkeypatch.setattr(module, "load_members", lambda *given, **named: pytest.fail("loaded"))
    assert suggest(work) == first


def test_other_models_or_scans_are_looked_at_anew(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suggest(work)
    calls = counting(monkeypatch)
    (work / "next" / "case3.json").write_text("{")
    suggest(work)
    assert calls == [2]
    shutil.rmtree(work / "supervised" / "fold_1")
    shutil.copytree(work / "model", work / "supervised" / "fold_1")
    suggest(work)
    assert calls == [2, *[2] * len(OPEN)]  # of the labelled scans the members do not matter


def test_every_number_is_that_of_its_own_scan(work: Path) -> None:
    advice = suggest(work, 9, "uncertainty")
    values = [one.uncertainty for one in advice.choices]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(OPEN)
    with (work / "next" / "next.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert [row["place"] for row in rows.values()] == ["1", "2", "3", "4"]
    kept = Kept.of(work)
    for one in advice.choices:
        assert float(rows[one.name]["uncertainty"]) == pytest.approx(one.uncertainty, rel=1e-3)
        assert float(rows[one.name]["disagreement"]) == pytest.approx(one.disagreement, rel=1e-3)
        seen = kept.get(one.name, labeled=False)
        assert seen is not None
        assert (seen.uncertainty, seen.disagreement) == (one.uncertainty, one.disagreement)
    usual = np.median([one.distance for one in advice.choices])
    assert usual == pytest.approx(1)


def test_what_was_labelled_meanwhile_is_left_out(work: Path) -> None:
    label(work, "case3", work / "labels")
    label(work, "case4", work.parent / "scans" / "labels")
    assert names(suggest(work)) == {"case2", "case5"}
    for name in ("case2", "case5"):
        label(work, name, work / "labels")
    advice = suggest(work)
    assert advice.choices == ()
    said = printed(advice, work)
    assert said.splitlines()[-1] == "Every scan has a label; there is none to label next."


def test_new_scans_are_named_and_removed_ones_left_out(work: Path) -> None:
    images = work.parent / "scans" / "images"
    shutil.copy(images / "case2.nii.gz", images / "added.nii.gz")
    (images / "case5.nii.gz").unlink()
    listed = work.parent / "scans" / "train.list"
    listed.write_text("\n".join(["added", *(f"case{i}" for i in range(5))]) + "\n")
    advice = suggest(work)
    assert names(advice) == {"case2", "case3", "case4"}
    assert advice.notes[0].startswith("1 new scan not prepared yet and not compared: added")


def test_one_fold_alone_cannot_disagree(work: Path) -> None:
    shutil.rmtree(work / "supervised" / "fold_1")
    advice = suggest(work, by="mix")
    assert [one.disagreement for one in advice.choices] == [None] * len(OPEN)
    assert advice.notes[0].startswith("no disagreement: it takes the models of two folds")
    assert advice.notes[0].endswith("the mix goes without")
    with pytest.raises(SimcvdError, match="two folds or more"):
        suggest(work, by="disagreement")


def test_a_mean_of_weights_has_its_own_folds(work: Path) -> None:
    config = work / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"mean_of": ["a", "b"]}))
    assert Kept.of(work).members == ()
    shutil.copytree(work / "supervised", work / "mean")
    shutil.copytree(work / "mean" / "fold_0", work / "mean" / "fold_0 (copy)")  # no fold
    assert [path.parent.name for path in Kept.of(work).members] == ["mean", "mean"]


def damage(work: Path, name: str) -> None:
    path = work / "cache" / "cases" / name / "image.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    os.utime(path)


def test_a_scan_that_cannot_be_read_is_named_and_the_others_are_compared(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(work, "case3")
    assert code_of(monkeypatch, "next", work, "-n", "2") == 3
    said = capsys.readouterr()
    assert "1 scan could not be read; the others were compared\n  case3: " in said.err
    assert "its bytes are not those that were written" in said.err
    assert width(said.out, work) <= 80
    assert names(suggest(work)) == {"case2", "case4", "case5"}
    for name in OPEN:
        damage(work, name) if name != "case3" else None
    shutil.rmtree(work / "next")
    assert code_of(monkeypatch, "next", work) == 1
    assert "so that there is none to choose from" in capsys.readouterr().err


def test_exit_codes_and_the_answer_in_80_columns(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(monkeypatch, "next", work, "--by", "distance", "-n", "2") == 0
    said = capsys.readouterr().out
    assert width(said, work) <= 80
    assert "unlike the labelled (1 of 4)" in " ".join(said.split())
    assert code_of(monkeypatch, "next", work, "--by", "random") == 2
    assert code_of(monkeypatch, "next", work, "-n", "0") == 2
    assert code_of(monkeypatch, "next", work.parent / "scans") == 1


def test_names_of_others_do_nothing_to_a_terminal_or_a_spreadsheet(work: Path) -> None:
    hostile = module.Choice(
        name="=1+1[red]", reason="[b]", uncertainty=0.1, disagreement=None, distance=1.0
    )
    text = printed(Advice(by="mix", choices=(hostile,), unlabeled=1, failed={}, table=work), work)
    assert "=1+1[red]" in text
    assert "[b]" in text
    long = replace(hostile, name="x" * 90)  # in lines, but whole
    text = printed(Advice(by="mix", choices=(long,), unlabeled=1, failed={}, table=work), work)
    assert text.count("x") == 90 + str(work).count("x") * 3
    assert width(text, work) <= 80
    assert module._csv([hostile], 1).splitlines()[1].startswith("'=1+1[red],1,")


def test_a_running_round_and_one_without_a_model_are_refused(work: Path) -> None:
    with locked(work / LOCK, ""), pytest.raises(SimcvdError, match="works here; let it end"):
        suggest(work)
    (work / "model" / DESCRIPTION).unlink()
    with pytest.raises(SimcvdError, match="has no model yet; `simcvd run --out"):
        suggest(work)


def test_a_folder_of_another_version_says_which_part_it_cannot_use(work: Path) -> None:
    manifest = work / "cache" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    with pytest.raises(SimcvdError, match="has format 99, this version of simcvd reads 1"):
        suggest(work)


def test_wrong_arguments_are_refused_from_python_too(work: Path) -> None:
    with pytest.raises(SimcvdError, match="0 scans were asked for"):
        simcvd.next(work, 0)
    with pytest.raises(SimcvdError, match="choose one of uncertainty, disagreement"):
        simcvd.next(work, by="random")
    assert simcvd.next(work, 1) == suggest(work, 1)


def test_the_next_round_has_an_answer_of_its_own(work: Path) -> None:
    suggest(work)
    begin(Round(work=work, number=2, start=1))
    assert (work / "rounds" / "1" / "next" / "next.csv").exists()
    assert not (work / "next").exists()


def test_review_lists_by_the_same_need_and_computes_nothing(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert known_order(work, OPEN, GIVEN) == []
    before = [row["name"] for row in Reviewed.read(work).scans()]
    assert before == sorted(before)
    chosen = suggest(work, 9)
    monkeypatch.setattr(module, "look", lambda *given: pytest.fail("looked"))
    listed = [row["name"] for row in Reviewed.read(work).scans()]
    assert listed[: len(OPEN)] == [one.name for one in chosen.choices]
    assert known_order(work, ["case2"], GIVEN) == ["case2"]


def printed(advice: Advice, work: Path) -> str:
    text = io.StringIO()
    show(advice, work, Console(file=text, width=80))
    return text.getvalue()


def width(said: str, work: Path) -> int:
    """Columns of what is printed, but for lines with a path, which are never broken."""
    return max(len(line) for line in said.splitlines() if str(work) not in line)


def code_of(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["simcvd", *map(str, words)])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
