"""What lies somewhere, how far it is, and a next command that does go on."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from tests.benchmark.test_grid import tiny
from tests.report.phantoms import scored
from tests.small import CASES, LABELED, NETWORK, TEST, TRAIN
from typer.testing import CliRunner

from simcvd.benchmark.grid import open_results, plan_grid
from simcvd.benchmark.units import write_record
from simcvd.cli import app
from simcvd.data.cache import Cache
from simcvd.experiments import select
from simcvd.files import write_json, write_text
from simcvd.info import describe
from simcvd.pipeline.command import Request
from simcvd.pipeline.presets import PRESETS
from simcvd.pipeline.request import ASKED
from simcvd.planning import Plan, write_plan
from simcvd.report.html import Words, write_page
from simcvd.scoring.evaluate import evaluate_folders
from simcvd.scoring.record import write_report
from simcvd.share import export_run
from simcvd.training.loop import train
from simcvd.training.score_run import score_run
from simcvd.types import SimcvdError

SETTINGS = [
    *(f"network.{name}={getattr(NETWORK, name)}" for name in ("widths", "blocks", "strides")),
    *("train.iterations=4", f"train.patch={TRAIN.patch}", "train.lr=0.02", "train.seed=3"),
    *("method.pool=16", "method.hidden=8", "method.out=8", "method.lambda=0.25"),
]
PLAN = Plan(
    channels=1,
    classes=3,
    spacing=(1.0, 1.0, 2.0),
    normalization="zscore",
    patch=(16, 16, 8),
    widths=(4, 8),
    blocks=(1, 1),
    strides=((2, 2, 2),),
    warnings=("The unlabelled scans are brighter.",),
)


@pytest.fixture(scope="module")
def run(small_cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a folder") / "run"
    train(small_cache.root, folder, method="simcvd", labeled=LABELED, settings=SETTINGS)
    return folder


def typed(command: str) -> str:
    """Type a command of `simcvd`; its output."""
    name, *arguments = shlex.split(command)
    assert name == "simcvd"
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_run_from_begun_to_scored(run: Path, small_cache: Cache) -> None:
    """Each next command is typed as it stands and leads to the next state."""
    (run / "model.json").unlink()
    checkpoint = run / "checkpoints" / "step_00000004.pt"
    for other in {*checkpoint.parent.iterdir()} - {checkpoint}:  # on a slow machine there are more
        other.unlink()
    checkpoint.rename(checkpoint.with_name("step_00000002.pt"))
    assert describe(run).state == "not finished, resumable at step 2 of 4"
    shutil.rmtree(run / "checkpoints")
    begun = describe(run)
    assert begun.state == "begun, without a checkpoint yet: starts at step 0 of 4"
    assert begun.facts["method"] == "simcvd"
    assert begun.facts["scans with a label"] == LABELED
    assert begun.facts["scans without"] == CASES - LABELED
    assert begun.facts["cache"] == str(small_cache.root)
    assert begun.next is not None
    typed(begun.next)  # refused if it did not mean the very same settings
    trained = describe(run)
    assert trained.state == "finished, not scored"
    assert trained.next is not None
    typed(trained.next)
    scored = describe(run)
    assert scored.state == "finished and scored"
    summary = json.loads((run / "metrics.json").read_text())["summary"]
    dice = scored.facts["mean Dice in %, test"]
    assert dice == {s["name"]: pytest.approx(100 * s["means"]["dice"]["mean"]) for s in summary}


def test_a_run_whose_cache_is_gone_says_so(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    config = json.loads((copy / "config.json").read_text())
    write_json(copy / "config.json", {**config, "cache": "/nowhere/cache"})
    assert describe(copy).warnings == ("its cache /nowhere/cache is not there now",)


def test_a_model_in_a_folder_and_in_a_zip(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(run / name, folder)
    score_run(run, quiet=True)
    alone, zipped = describe(folder), describe(export_run(run, tmp_path / "m.zip").path)
    assert alone.kind == zipped.kind == "model"
    assert alone.facts["classes"] == zipped.facts["classes"]
    assert zipped.facts["classes"] == {"0": "background", "1": "class 1", "2": "class 2"}
    assert zipped.facts["trained on"]["unlabeled"] == CASES - LABELED
    assert zipped.next == f"simcvd predict {tmp_path / 'm.zip'} SCANS --out DIR"
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(SimcvdError, match="not the file that"):
        describe(folder)


def test_a_cache_finished_and_not(small_cache: Cache, tmp_path: Path) -> None:
    whole = describe(small_cache.root)
    assert (whole.kind, whole.state) == ("cache", "finished")
    assert whole.facts["training scans"] == whole.facts["with a label"] == CASES
    assert whole.facts["test scans"] == TEST
    assert whole.next == f"simcvd train {small_cache.root} --labeled {CASES} --out RUN"
    copy = shutil.copytree(small_cache.root, tmp_path / "cache")
    shutil.rmtree(copy / "cases" / "case1")
    assert describe(copy).state == "damaged: lacks 1 scan, case1 first"
    (copy / "manifest.json").unlink()
    unfinished = describe(copy)
    assert unfinished.state == "not finished"
    assert unfinished.facts == {"scans so far": CASES + TEST - 1}


def test_a_plan(tmp_path: Path) -> None:
    write_plan(PLAN, tmp_path / "plan.toml")
    found = describe(tmp_path / "plan.toml")
    assert found.facts["patch"] == (16, 16, 8)
    assert found.warnings == PLAN.warnings
    assert "warning: The unlabelled scans are brighter." in found.to_text()
    assert found.next == f"simcvd prepare SCANS --out CACHE --plan {tmp_path / 'plan.toml'}"


def test_a_benchmark_counts_its_runs(small_cache: Cache, tmp_path: Path) -> None:
    rows = select(("supervised", "mean_teacher"))
    grid = plan_grid(small_cache.root, tiny(), rows, tmp_path / "results")
    open_results(grid)
    assert describe(tmp_path / "results").state.startswith("0 runs done, 0 begun")
    first, second = grid.units[:2]
    write_record(first, small_cache, seconds={"train": 1.0, "score": 1.0})
    write_record(second, small_cache)
    found = describe(tmp_path / "results")
    assert found.kind == "benchmark"
    assert found.state.startswith("1 run done, 1 begun")
    assert found.facts["runs done"] == {f"{first.row.id}, 3 labelled": 1}
    assert found.facts["runs begun"] == [second.name]
    assert found.facts["hash"] == grid.protocol.hash()


def test_a_folder_of_a_whole_run(tmp_path: Path) -> None:
    work = tmp_path / "work"
    asked = Request(
        images=tmp_path / "my scans",
        labels=None,
        work=work,
        preset=PRESETS["quick"],
        method="cutmix",
    )
    write_json(work / "run.json", ASKED.content(asked.record()))
    write_json(work / "check.json", {})
    found = describe(work)
    assert found.state == "not finished: not yet planned; resumable"
    assert found.next == f"simcvd run --out {work}"


def test_segmentations_scores_page_and_demo(small_cache: Cache, tmp_path: Path) -> None:
    work = tmp_path / "a work"
    out = work / "predictions"
    rows = ["case,file,confidence,ball (ml),flags", "a,a.nii.gz,0.9,1,", "b,b.nii.gz,,0,no ball"]
    write_text(out / "predictions.csv", "\n".join(rows) + "\n")
    for name in "ab":
        (out / f"{name}.nii.gz").write_bytes(b"some")
    found = describe(out)
    assert (found.kind, found.state) == ("predictions", "whole")
    assert found.facts["least confident"] == {"b.nii.gz": 0.0, "a.nii.gz": 0.9}
    assert found.facts["with flags"] == 1
    assert found.next == f"simcvd evaluate {shlex.quote(str(out))} REFERENCES"
    (out / "a.nii.gz").unlink()
    assert describe(out).state == "not whole: a.nii.gz is gone, among 1"
    labels = tmp_path / "scores"
    write_report(evaluate_folders(*[small_cache.root.parent / "scans" / "labels"] * 2), labels)
    for place in (labels, labels / "metrics.json"):
        scores = describe(place)
        assert scores.kind == "scores"
        assert scores.facts["scores"].startswith("mean Dice 100.0 % (100.0 to 100.0) over 8 scans;")
    results = scored(small_cache, tmp_path, small_cache.test, {"V-Net": 1})
    page = describe(write_page(work, small_cache, results, Words(title="A page")))
    assert (page.kind, page.facts["scans"]) == ("page", TEST)
    assert page.facts["goes with it"] == "nothing: it stands alone"
    (tmp_path / "demo" / "scans" / "images").mkdir(parents=True)
    (tmp_path / "demo" / "cache").mkdir()
    demo = describe(tmp_path / "demo")
    assert (demo.kind, demo.state) == ("demo", "not finished: not yet scans; resumable")


def test_anything_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="nothing is there"):
        describe(tmp_path / "nowhere")
    with pytest.raises(SimcvdError, match="nothing that simcvd makes"):
        describe(tmp_path)
    write_json(tmp_path / "config.json", {"model": "another program's"})
    with pytest.raises(SimcvdError, match="is no record of a run of simcvd"):
        describe(tmp_path)


def test_json_on_the_command_line(small_cache: Cache) -> None:
    found = json.loads(typed(f"simcvd info {shlex.quote(str(small_cache.root))} --json"))
    assert found["kind"] == "cache"
    assert found["facts"]["preparation"]["normalization"] == "zscore"
