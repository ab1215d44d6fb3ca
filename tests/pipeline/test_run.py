"""The whole job as a user types it, on a few small phantoms."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import nibabel
import numpy as np
import pytest
from rich.console import Console

from simcvd.demo.phantom import PhantomSettings, write_phantoms
from simcvd.pipeline import dry_run, run
from simcvd.planning import make_plan, read_plan, write_plan
from simcvd.torch_state import threads
from simcvd.training.run import read_config
from simcvd.types import SimcvdError

SCANS, LABELED = 7, 4
ITERATIONS = 10


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``images/`` with seven scans, ``labels/`` with four."""
    folder = tmp_path_factory.mktemp("scans")
    settings = PhantomSettings(shape=(20, 18, 16), spacing=(5.0, 5.0, 6.0))
    write_phantoms(folder, SCANS, 0, test=0, labeled=LABELED, settings=settings)
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The same bits in this process as in the one that is killed."""
    with threads(1):
        yield


@pytest.fixture(scope="module")
def finished(
    scans: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A run with an edited plan, and what it said."""
    work = tmp_path_factory.mktemp("finished") / "work"
    _edit_plan(scans, work)
    return work, _typed(scans, work)


def test_every_scan_is_segmented_in_its_own_grid(finished: tuple[Path, str], scans: Path) -> None:
    written = sorted(path.name for path in (finished[0] / "predictions").glob("*.nii.gz"))
    sources = sorted((scans / "images").iterdir())
    assert written == [path.name for path in sources]
    for path in sources:
        source, mask = nibabel.load(path), nibabel.load(finished[0] / "predictions" / path.name)
        assert mask.shape == source.shape
        np.testing.assert_array_equal(mask.affine, source.affine)
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}


def test_the_answer_is_on_screen_and_in_the_report(finished: tuple[Path, str]) -> None:
    work, said = finished
    answer = next(line for line in said.splitlines() if "unlabelled scans helped" in line)
    assert answer.startswith("Whether the unlabelled scans helped is ")
    assert f"over {LABELED} scans and " in answer
    page = unescape((work / "report.html").read_text(encoding="utf-8"))
    assert answer in page
    assert "held-out labelled scans</h2>" in page


def test_each_labelled_scan_is_held_out_once_from_every_arm(
    finished: tuple[Path, str],
) -> None:
    for method in ("supervised", "cutmix", "mean"):
        held = []
        for fold in ("fold_0", "fold_1"):
            seen = read_config(finished[0] / method / fold)["run"]
            assert not {*seen["labeled"], *seen["unlabeled"]} & set(seen["holdout"])
            held += seen["holdout"]
        assert sorted(held) == [f"phantom_{i:03d}" for i in range(LABELED)]
    final = read_config(finished[0] / "model")["run"]
    assert len(final["labeled"]) == LABELED
    assert final["holdout"] == []


def test_what_became_of_every_file_is_kept(finished: tuple[Path, str], scans: Path) -> None:
    told = json.loads((finished[0] / "check.json").read_text(encoding="utf-8"))
    images = {str(path) for path in (scans / "images").iterdir()}
    assert images <= {file["path"] for file in told["files"] if file["use"] == "scan"}


def test_an_edited_plan_is_kept(finished: tuple[Path, str]) -> None:
    work = finished[0]
    plan = read_plan(work / "plan.toml")
    assert plan.iterations == ITERATIONS
    used = read_config(work / "cutmix" / "fold_0")["run"]
    assert tuple(used["network"]["widths"]) == plan.widths == (4, 8)
    assert used["train"]["iterations"] == ITERATIONS


def test_typed_again_it_does_only_what_is_missing(finished: tuple[Path, str], scans: Path) -> None:
    work, said = finished
    missing = work / "predictions" / "phantom_005.nii.gz"
    before = missing.read_bytes()
    missing.unlink()
    kept = [*work.glob("predictions/*.nii.gz"), *work.glob("*/fold_*/holdout/metrics.json")]
    dates = [path.stat().st_mtime_ns for path in kept]
    again = _typed(scans, work)
    assert [path.stat().st_mtime_ns for path in kept] == dates
    assert missing.read_bytes() == before
    assert "Checking" not in again
    assert said.splitlines()[-5:] == again.splitlines()[-5:]


def test_folds_side_by_side_are_the_same(
    finished: tuple[Path, str], scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    _edit_plan(scans, work)
    monkeypatch.setattr("simcvd.pipeline.relay.LOOK_SECONDS", 60)
    said = _typed(scans, work, workers=2)
    assert "2 folds, 3 trainings each, side by side" in said
    assert "fold 2: training 3 of 3" in said
    assert " left in this fold: CutMix" in said
    lines = said.splitlines()
    last = [i for i, line in enumerate(lines) if line.startswith(f"fold 1: step {ITERATIONS}/")][-1]
    assert last < lines.index("fold 1: done")  # said before the next look
    assert "CutMix" in (work / "logs" / "fold_0.log").read_text(encoding="utf-8")
    _assert_same(work, finished[0])


@pytest.mark.parametrize("workers", [1, 2])  # two leave processes that end after their step
def test_killed_and_typed_again_it_ends_the_same(
    workers: int, finished: tuple[Path, str], scans: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    _edit_plan(scans, work)
    _kill_in_training(scans, work, work / "cutmix" / "fold_0", workers)
    assert not (work / "cutmix" / "fold_0" / "model.json").exists()
    assert _typed(scans, work, workers).splitlines()[-4] == finished[1].splitlines()[-4]
    _assert_same(work, finished[0])


def test_a_dry_run_tells_the_cost_and_writes_nothing(scans: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*")), sorted(scans.rglob("*"))
    said = io.StringIO()
    console = Console(file=said, width=200)
    dry_run(
        scans / "images",
        tmp_path / "work",
        labels=scans / "labels",
        preset="quick",
        console=console,
    )
    assert (sorted(tmp_path.rglob("*")), sorted(scans.rglob("*"))) == before
    assert "spacing = [5.0, 5.0, 6.0]" in said.getvalue()
    assert "4 labelled scans: in each of 2 folds, 2 are held out" in said.getvalue()
    assert "Expected: " in said.getvalue()
    assert "--preset standard, which trains longer, would take about " in said.getvalue()


def test_a_folder_without_a_readable_scan(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / "notes.txt").write_text("no scan")
    with pytest.raises(SimcvdError, match="images"):
        run(tmp_path / "images", tmp_path / "work", labels=tmp_path / "labels")
    assert not (tmp_path / "work").exists()


def test_a_folder_without_labels_is_named(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    with pytest.raises(SimcvdError, match="labels: holds no label of a training scan"):
        run(scans / "images", tmp_path / "work", labels=tmp_path / "labels")


def test_a_scan_that_cannot_be_read_is_named_before_any_training(
    scans: Path, tmp_path: Path
) -> None:
    shutil.copytree(scans, tmp_path / "scans")
    (tmp_path / "scans" / "images" / "phantom_006.nii.gz").write_bytes(b"no gzip")
    with pytest.raises(SimcvdError, match="errors listed above, 1 in all"):
        run(tmp_path / "scans" / "images", tmp_path / "work", labels=tmp_path / "scans" / "labels")
    assert not (tmp_path / "work").exists()  # nothing in the way of a folder of corrected copies


def test_what_is_wrong_with_the_files_comes_before_what_follows_from_it(tmp_path: Path) -> None:
    settings = PhantomSettings(shape=(16, 16, 16))
    write_phantoms(tmp_path, 3, 0, test=0, labeled=2, settings=settings)
    for label in (tmp_path / "labels").iterdir():
        label.rename(label.with_name(f"of_{label.name}"))  # so that no scan has one
    said = io.StringIO()
    console = Console(file=said, width=200)
    for job in (run, dry_run):
        with pytest.raises(SimcvdError, match="to be fixed before training"):
            job(tmp_path / "images", tmp_path / "work", labels=tmp_path / "labels", console=console)
    assert said.getvalue().count("no label has the name of a scan") == 2
    assert not (tmp_path / "work").exists()


def test_a_label_on_another_grid_is_refused_or_resampled(tmp_path: Path) -> None:
    settings = PhantomSettings(shape=(16, 16, 16))
    write_phantoms(tmp_path, 3, 0, test=0, labeled=2, settings=settings)
    path = min((tmp_path / "labels").iterdir())
    label = nibabel.nifti1.load(path)
    whole = np.asarray(label.dataobj)
    nibabel.save(nibabel.Nifti1Image(whole[:-1], label.affine), path)
    said = io.StringIO()
    job = {"out": tmp_path / "work", "labels": tmp_path / "labels"}
    console = Console(file=said, width=200)
    with pytest.raises(SimcvdError, match="to be fixed") as refused:
        dry_run(tmp_path / "images", **job, console=console)
    assert "--fix" not in str(refused.value)  # which mends no geometry
    assert "--resample-labels" in said.getvalue()
    dry_run(tmp_path / "images", **job, console=console, resample_labels=True)
    assert "resampled to the grid of its scan" in said.getvalue()


@pytest.mark.parametrize(
    ("labeled", "message"),
    [(1, "1 of the training scans have a label, and at least 2"), (3, "all 3 .* have a label")],
)
def test_too_few_labels_and_too_few_without(labeled: int, message: str, tmp_path: Path) -> None:
    settings = PhantomSettings(shape=(16, 16, 16))
    write_phantoms(tmp_path, 3, 0, test=0, labeled=labeled, settings=settings)
    with pytest.raises(SimcvdError, match=message):
        run(tmp_path / "images", tmp_path / "work", labels=tmp_path / "labels")
    assert not (tmp_path / "work").exists()


def test_another_preset_or_a_foreign_folder_is_refused(
    finished: tuple[Path, str], scans: Path, tmp_path: Path
) -> None:
    with pytest.raises(SimcvdError, match="preset: 'quick' -> 'full'"):
        run(scans / "images", finished[0], labels=scans / "labels", preset="full")
    with pytest.raises(SimcvdError, match="resample_labels: False -> True"):
        run(
            scans / "images",
            finished[0],
            labels=scans / "labels",
            preset="quick",
            resample_labels=True,
        )
    (tmp_path / "thesis.tex").write_text("dear reader")
    with pytest.raises(SimcvdError, match="holds other files"):
        run(scans / "images", tmp_path, labels=scans / "labels")


def _assert_same(work: Path, other: Path) -> None:
    for part in ("model/model.safetensors", "cutmix/metrics.csv", "predictions/predictions.csv"):
        assert (work / part).read_bytes() == (other / part).read_bytes(), part
    for path in (other / "predictions").glob("*.nii.gz"):
        # Voxels: the header's quaternion is LAPACK's, which rounds by how many threads it has.
        one, two = (
            np.asarray(nibabel.load(home / "predictions" / path.name).dataobj)
            for home in (work, other)
        )
        np.testing.assert_array_equal(one, two)


def _edit_plan(scans: Path, work: Path) -> None:
    """A plan that trains in seconds, where the run will look for it."""
    plan = make_plan(scans / "images", scans / "labels", jobs=1)
    small = replace(
        plan.quick(),
        patch=(16, 16, 16),
        widths=(4, 8),
        blocks=(1, 1),
        strides=((2, 2, 2),),
        iterations=ITERATIONS,
        base=ITERATIONS,
    )
    write_plan(small, work / "plan.toml")


def _typed(scans: Path, work: Path, workers: int = 1) -> str:
    said = io.StringIO()
    console = Console(file=said, soft_wrap=True, width=200)
    run(
        scans / "images",
        work,
        labels=scans / "labels",
        preset="quick",
        workers=workers,
        console=console,
    )
    return said.getvalue()


def _kill_in_training(scans: Path, work: Path, training: Path, workers: int) -> None:
    """Type the command, and kill it once `training` has a checkpoint."""
    command = [
        *(sys.executable, "-m", "simcvd.cli", "run", "--images", str(scans / "images")),
        *("--labels", str(scans / "labels"), "--out", str(work), "--preset", "quick"),
        *("--workers", str(workers)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SIMCVD_CHECKPOINT_SECONDS": "0"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 240
    while not any(training.glob("checkpoints/*.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
