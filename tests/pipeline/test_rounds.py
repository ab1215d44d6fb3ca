"""A second round, after scans or labels came, went or changed."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
import torch
from rich.console import Console
from tests.small import make_cache

from simcvd import files
from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.demo.phantom import PhantomSettings, write_phantoms
from simcvd.files import write_json
from simcvd.inference.model import weights_digest
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import Source, SourceCase
from simcvd.locks import locked
from simcvd.pipeline import Outcome, command, compare, run
from simcvd.pipeline.presets import QUICK, deal
from simcvd.pipeline.request import Request
from simcvd.pipeline.rounds import RESULT, Round, begin, changes, current
from simcvd.planning import make_plan, write_plan
from simcvd.records import as_json
from simcvd.report.rounds import RoundSummary, summary_of
from simcvd.share import export_run
from simcvd.training.run import read_config
from simcvd.training.score_run import score_run
from simcvd.types import SimcvdError

SCANS, LABELED, STEPS = 8, 4, 6


class Two(NamedTuple):
    """A folder after its second round; before: what the first left, by path, and its bytes."""

    work: Path
    outcome: Outcome
    said: str
    before: dict[str, str]
    scans: Path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Round 1 with 4 labels; then one more given, one drawn, one corrected, a mask mended."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("rounds")
    settings = PhantomSettings(shape=(20, 18, 16), spacing=(5.0, 5.0, 6.0))
    for name, labeled in (("scans", LABELED), ("all", SCANS)):
        write_phantoms(root / name, SCANS, 0, test=0, labeled=labeled, settings=settings)
    scans, work = root / "scans", root / "work"
    plan = make_plan(scans / "images", scans / "labels", jobs=1).quick()
    small: dict[str, Any] = {
        "patch": (16, 16, 16),
        "widths": (4, 8),
        "blocks": (1, 1),
        "strides": ((2, 2, 2),),
    }
    write_plan(replace(plan, **small, iterations=STEPS, base=STEPS), work / "plan.toml")
    run(
        scans / "images", work, labels=scans / "labels", preset="quick", workers=1, console=_quiet()
    )
    _mend(work / "predictions" / "phantom_006.nii.gz")
    before = _bytes_of(work)
    _label(root / "all", "phantom_004", scans / "labels")
    _label(root / "all", "phantom_005", work / "labels")
    _mend(scans / "labels" / "phantom_000.nii.gz")
    shutil.copytree(work, root / "killed")
    said = io.StringIO()
    outcome = run(None, work, workers=1, console=Console(file=said, width=400))
    yield Two(work, outcome, said.getvalue(), before, scans)
    torch.set_num_threads(threads)


def test_a_second_round_says_what_changed_and_keeps_the_first_whole(two: Two) -> None:
    assert "1 changed label: phantom_000" in two.said
    assert "2 new labels: phantom_004, phantom_005" in two.said
    assert "The result of round 1 goes to rounds/1" in two.said
    assert f"1 label taken from {two.work / 'labels'}: phantom_005" in two.said
    assert {"predictions/phantom_006.nii.gz", "model/model.safetensors"} < set(two.before)
    assert re.search(r"training 6 of 6(, \d+ s left in all)?: CutMix, fold 2 of 2", two.said)
    moved = _bytes_of(two.work / "rounds" / "1")
    assert two.before == {name: moved.get(name) for name in two.before}


def test_a_folder_of_a_run_stands_for_its_final_model(two: Two, tmp_path: Path) -> None:
    assert weights_digest(two.work) == weights_digest(two.work / "model")
    assert weights_digest(two.work) != weights_digest(two.work / "rounds" / "1")
    alone, named = (export_run(run, tmp_path / "m.zip") for run in (two.work / "model", two.work))
    assert alone == named


def test_its_trainings_start_from_the_control_of_the_same_fold(two: Two) -> None:
    first = two.work / "rounds" / "1"
    for fold in ("fold_0", "fold_1"):
        base = read_config(two.work / "base" / fold)["run"]
        assert base["train"]["iterations"] == -(-STEPS // 4)
        assert base["init"] == weights_digest(first / "supervised" / fold)
        before = read_config(first / "supervised" / fold)["run"]
        assert not {*before["labeled"]} & {*base["holdout"]}
        assert {*before["holdout"]} < {*base["holdout"]}
        assert not {*base["labeled"], *base["unlabeled"]} & {*base["holdout"]}
    final = read_config(two.work / "model")["run"]
    assert len(final["labeled"]) == LABELED + 2


def test_the_drawn_label_is_learnt_from_and_stays(two: Two) -> None:
    drawn = two.work / "labels" / "phantom_005.nii.gz"
    case = Cache(two.work / "cache").case("phantom_005")
    assert case.has_label
    assert (case.label > 0).sum() > 0
    assert case.info.sources.label.path == str(drawn.resolve())
    mended = "predictions/phantom_006.nii.gz"
    assert _bytes_of(two.work)[mended] == two.before[mended]  # a corrected mask, not segmented anew


def test_both_rounds_are_in_the_report(two: Two) -> None:
    page = (two.work / "report.html").read_text(encoding="utf-8")
    table = page.split('id="rounds-title">')[1].split("</table>")[0]
    rows = [row.split("<td>") for row in table.split("<tr>")[2:]]
    assert f"Dice from round 1, {LABELED} labels, to now, {LABELED + 2} labels: Superv" in table
    assert [row[1].split("<")[0] for row in rows] == [str(LABELED), str(LABELED + 2)]
    assert f"<td>{100 * two.outcome.dice['supervised']:.1f}</td>" in table
    assert "rounds-title" not in (two.work / "rounds/1/report.html").read_text(encoding="utf-8")
    assert str(two.outcome) == two.outcome.answer
    assert (two.outcome.round, two.outcome.model) == (2, two.work / "model")


def test_killed_in_round_2_and_typed_again_it_ends_the_same(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = two.work.parent / "killed"
    scored = iter(range(4))

    def dies(*given: Any, **named: Any) -> Path:
        if next(scored) == 2:
            raise KeyboardInterrupt
        return score_run(*given, **named)

    monkeypatch.setattr(compare, "score_run", dies)
    with pytest.raises(KeyboardInterrupt):
        run(None, work, workers=1, console=_quiet())
    monkeypatch.undo()
    assert not (work / "report.html").exists()
    said = io.StringIO()
    run(None, work, workers=1, console=Console(file=said, width=400))
    assert "changed" not in said.getvalue()
    assert sorted(path.name for path in (work / "rounds").iterdir()) == ["1"]
    moved = _bytes_of(work / "rounds" / "1")
    assert two.before == {name: moved.get(name) for name in two.before}
    for part in ("model/model.safetensors", "cutmix/metrics.csv"):
        assert (work / part).read_bytes() == (two.work / part).read_bytes(), part


def test_a_label_that_comes_while_the_scans_are_read(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(two.work / "plan.toml", work)

    def late(*given: Any, **named: Any) -> Cache:
        _label(two.scans.parent / "all", "phantom_007", work / "labels")
        return prepare(*given, **named)

    monkeypatch.setattr(command, "prepare", late)
    with pytest.raises(SimcvdError, match="while they were read: phantom_007; re-run"):
        run(two.scans / "images", work, labels=two.scans / "labels", workers=1, console=_quiet())


def test_scans_may_come_and_go_until_the_first_training(tmp_path: Path) -> None:
    scans, work = tmp_path / "scans", tmp_path / "work"
    shutil.copytree(make_cache(tmp_path).root, work / "cache")
    shutil.copy(scans / "images" / "case0.nii.gz", scans / "images" / "p9.nii.gz")
    (scans / "labels" / "case1.nii.gz").unlink()
    with (scans / "train.list").open("a") as file:
        file.write("p9\n")
    _mend(scans / "labels" / "case0.nii.gz")
    (scans / "images" / "case2.nii.gz").touch()  # of the same contents
    found = recognise(scans, None)
    assert changes(work, found) == []
    write_json(work / "supervised" / "fold_0" / "config.json", {})
    assert changes(work, found) == [
        "1 new scan: p9",
        "1 removed label: case1",
        "1 changed label: case0",
    ]


def test_a_kill_at_any_moment_of_the_move_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(work: Path) -> dict[str, str]:
        for name in ("report.html", "model/a", "cutmix/fold_0/a", "predictions/a", "cache/a"):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(name)
        write_json(work / "run.json", {"method": "cutmix"})
        return _bytes_of(work)

    steps = 0
    while True:
        work, left = tmp_path / str(steps), [steps]
        before = made(work)

        def dies(operation: str, path: Path, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        monkeypatch.setattr(files, "watch", dies)
        following = Round(work=work, number=2, start=1)
        try:
            begin(following)
            ended = True
        except KeyboardInterrupt:
            ended = False
        monkeypatch.undo()
        if (work / "rounds" / "closing.json").exists() or (work / "round.json").exists():
            assert current(work) == following
            assert _bytes_of(work / "rounds" / "1") == before
            assert not any((work / name).exists() for name in RESULT)
            assert (work / "cache" / "a").exists()
        else:
            assert current(work) == Round(work=work)
            assert _bytes_of(work) == before
        if ended:
            break
        steps += 1
    assert steps > 10


def test_a_round_begins_when_the_former_one_s_trainings_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed command leaves them to end after their step, and they write where they stand."""
    training = tmp_path / "cutmix" / "fold_0"
    training.mkdir(parents=True)
    (training / ".lock.owner").write_text("left by a dead process")
    os.utime(training / ".lock.owner", (1, 1))
    write_json(tmp_path / "run.json", {"method": "cutmix"})
    monkeypatch.setattr("simcvd.pipeline.rounds.LOCK_SECONDS", 0.1)
    following = Round(work=tmp_path, number=2, start=1)
    with (
        locked(training / ".lock", "busy."),
        pytest.raises(SimcvdError, match="a training of the former round still works here"),
    ):
        begin(following)
    assert training.exists()
    assert current(tmp_path) == following  # goes on with the move
    assert (tmp_path / "rounds" / "1" / "cutmix" / "fold_0").exists()


@pytest.mark.parametrize(
    "record",
    [{"number": "../../x"}, {"number": 2, "start": 2}, {"number": 2, "start": 1.0}, {"number": 0}],
)
def test_a_round_of_a_stranger_leads_nowhere(tmp_path: Path, record: dict[str, Any]) -> None:
    write_json(tmp_path / "round.json", record)
    with pytest.raises(SimcvdError, match=r"round\.json: a round .* is none"):
        current(tmp_path)


def test_rounds_that_start_from_each_other_have_no_end(tmp_path: Path) -> None:
    write_json(tmp_path / "round.json", {"number": 3, "start": 2})
    write_json(tmp_path / "rounds" / "2" / "round.json", {"number": 9, "start": 2})
    with pytest.raises(SimcvdError, match="is none"):
        current(tmp_path).folds(_source("abcd", "e"), deal(_source("abcd", "e"), QUICK))


def test_a_round_that_another_run_began_meanwhile_keeps_the_former(tmp_path: Path) -> None:
    for name in ("run.json", "check.json"):
        write_json(tmp_path / name, {"method": "cutmix", "first": True})
    looked = Round(work=tmp_path, number=2, start=1)
    begin(looked)  # by the other one
    write_json(tmp_path / "check.json", {"first": False})
    before = _bytes_of(tmp_path)
    with pytest.raises(SimcvdError, match=r"another `simcvd run` began round 2 meanwhile; re-run"):
        begin(looked)
    assert _bytes_of(tmp_path) == before


def test_a_method_of_a_stranger_moves_no_folder_outside(tmp_path: Path) -> None:
    victim, work = tmp_path / "victim", tmp_path / "a" / "work"
    victim.mkdir()
    write_json(work / "run.json", {"method": "../../victim"})
    with pytest.raises(SimcvdError, match="a method: the name"):
        begin(Round(work=work, number=2, start=1))
    assert victim.is_dir()


def test_no_patient_is_on_both_sides_of_a_fold(tmp_path: Path) -> None:
    """Seven visits of three patients, one visit of C without a label: two folds, A and B or C."""
    settings = PhantomSettings(shape=(16, 16, 16))
    write_phantoms(tmp_path, 7, 0, test=0, labeled=6, settings=settings)
    names = ("A_v1", "A_v2", "B_v1", "B_v2", "C_v1", "C_v2", "C_v3")
    for number, name in enumerate(names):
        for path in tmp_path.glob(f"*/phantom_{number:03d}.nii.gz"):
            path.rename(path.with_name(f"{name}.nii.gz"))
    for listed in tmp_path.glob("*.list"):
        listed.unlink()
    found = recognise(tmp_path / "images", tmp_path / "labels", patient="(.)_")
    folds = deal(found, QUICK)
    assert folds.held == (4, 2)
    for fold in folds.named:
        learnt, tested = fold.labeled + fold.unlabeled, fold.holdout
        assert not {name[0] for name in learnt} & {name[0] for name in tested}
    assert "2 to 4 are held out and 2 to 4 trained on, all scans of a patient" in folds.sentence()
    work = tmp_path / "work"
    shutil.copy(tmp_path / "labels" / "C_v2.nii.gz", tmp_path / "labels" / "C_v3.nii.gz")
    (tmp_path / "labels" / "A_v2.nii.gz").unlink()
    given: dict[str, Any] = {
        "labels": tmp_path / "labels",
        "patient_pattern": "(.)_",
        "preset": "quick",
    }
    with pytest.raises(SimcvdError, match="fold 2 of 2 holds out A, of whom all"):
        run(tmp_path / "images", work, **given, console=_quiet())
    assert not work.exists()
    (tmp_path / "labels" / "C_v3.nii.gz").unlink()
    alone = deal(recognise(tmp_path / "images", tmp_path / "labels"), QUICK)
    assert (alone.held, alone.named) == ((2, 2), ())


def test_a_folder_of_an_earlier_version_goes_on_with_what_it_was_begun_with(
    tmp_path: Path,
) -> None:
    begun = {
        "images": str(tmp_path / "scans"),
        "labels": None,
        "preset": "quick",
        "resample_labels": True,
    }
    write_json(tmp_path / "w" / "run.json", begun)
    asked = Request.of(tmp_path / "w", images=None, preset=None)
    assert (asked.method, asked.preset, asked.resample_labels) == ("simcvd", QUICK, True)
    assert not asked.by_patient  # its folds were counted off the list, and stay so
    assert "patient_pattern" not in as_json(asked.record())
    with pytest.raises(SimcvdError, match="patient_pattern: None -> 'x'"):
        Request.of(tmp_path / "w", patient_pattern="x").refuse_folder()
    with pytest.raises(SimcvdError, match="name the scans with --images"):
        Request.of(tmp_path / "other")


def _round(folder: Path, *folds: tuple[list[str], list[str]], finished: bool = True) -> None:
    """A result whose folds were trained on, and had held out, these scans."""
    for number, (labeled, holdout) in enumerate(folds):
        cases = {"labeled": labeled, "unlabeled": [], "holdout": holdout}
        record = {"method": "supervised", **cases, "train": {"iterations": 1, "seed": 0}}
        config = {"run": record, "data": "0"}
        write_json(folder / "supervised" / f"fold_{number}" / "config.json", config)
    if finished:
        (folder / "model").mkdir()
        (folder / "model" / "model.json").write_text("{}")
        for name in ("metrics.json", "metrics.csv"):
            (folder / "supervised" / name).write_text("{}")


def test_what_a_user_put_beside_the_folds_is_not_counted(tmp_path: Path) -> None:
    _round(tmp_path, (["a"], ["b"]), (["b"], ["a"]), finished=False)
    folder = tmp_path / "supervised"
    (folder / "fold_1" / "log.jsonl").write_text('{"step": 1, "seconds": 60.0}\n')
    shutil.copytree(folder / "fold_1", folder / "fold_1 (copy)")
    (folder / "fold_old").mkdir()
    (folder / "fold_old" / "config.json").write_text("{")
    assert summary_of(tmp_path, ["supervised"]) == RoundSummary(labeled=2, dice={}, minutes=1)


def _source(labeled: str, unlabeled: str) -> Source:
    cases = {
        name: SourceCase(name=name, images=(), label=Path(name) if name in labeled else None)
        for name in sorted(labeled + unlabeled)
    }
    return Source(kind="folders", description="", cases=cases, train=tuple(cases))


def test_a_scan_is_never_held_out_from_weights_that_have_seen_its_label(tmp_path: Path) -> None:
    """Round 1 held out a, c (fold 0) and b, d (fold 1), with e in both trainings."""
    first = (list("bde"), list("ac")), (list("ace"), list("bd"))
    _round(tmp_path, *first)
    (tmp_path / "supervised" / "fold_0 (copy)").mkdir()  # of the user's, and no fold
    second = Round(work=tmp_path).next(fresh=False)
    assert second == Round(work=tmp_path, number=2, start=1)
    fresh = deal(_source("abcdefg", "hi"), QUICK)
    now, folds = second.folds(_source("abcdefg", "hi"), fresh)
    assert now == second
    # f and g are new; one goes to either fold, and e, which both have seen, is never held out
    assert [fold.holdout for fold in folds.named] == [tuple("acf"), tuple("bdg")]
    assert [fold.labeled for fold in folds.named] == [tuple("bdeg"), tuple("acef")]
    # c's label was taken away and comes back in the third round: to the fold that it was in
    shutil.move(tmp_path / "supervised", tmp_path / "rounds" / "1" / "supervised")
    shutil.move(tmp_path / "model", tmp_path / "rounds" / "1" / "model")
    _round(tmp_path, (list("bde"), list("a")), (list("ae"), list("bd")))
    write_json(tmp_path / "round.json", {"number": 2, "start": 1})
    third, folds = current(tmp_path).next(fresh=False).folds(_source("abcde", "fg"), fresh)
    assert third.start == 2
    assert [fold.holdout for fold in folds.named] == [tuple("ac"), tuple("bd")]


def test_new_folds_begin_from_fresh_weights(tmp_path: Path) -> None:
    _round(tmp_path, (list("cd"), list("ab")), (list("ab"), list("cd")))
    fresh = deal(_source("abe", "cd"), QUICK)
    following = Round(work=tmp_path).next(fresh=False)
    emptied = following.folds(_source("ab", "cd"), fresh)  # nothing is left to hold out in fold 1
    asked = Round(work=tmp_path).next(fresh=True).folds(_source("abcd", "e"), fresh)
    assert emptied == asked == (Round(work=tmp_path, number=2), fresh)


def test_a_round_that_was_not_finished_is_no_start(tmp_path: Path) -> None:
    _round(tmp_path, (list("cd"), list("ab")), finished=False)
    assert Round(work=tmp_path).next(fresh=False).start is None


def _quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def _bytes_of(work: Path) -> dict[str, str]:
    """A hash of every file of a round's own, by its path in the folder."""
    shared = ("cache", "labels", "rounds", "round.json")
    found = [path for path in sorted(work.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(work)): sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.relative_to(work).parts[0] not in shared
    }


def _mend(path: Path) -> None:
    """One more voxel of the object."""
    old = nibabel.nifti1.load(path)
    values = np.asarray(old.dataobj).copy()
    values[tuple(np.argwhere(values == 0)[0])] = 1
    nibabel.save(nibabel.Nifti1Image(values, old.affine), path)


def _label(source: Path, name: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    shutil.copy(source / "labels" / f"{name}.nii.gz", folder)
