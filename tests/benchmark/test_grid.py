"""A whole grid on made-up scans: stopped, killed, moved, failing, and always the same tables."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.small import TEST, make_cache, write_scans

import simcvd
from simcvd.benchmark.catalogue import find_protocol
from simcvd.benchmark.command import benchmark
from simcvd.benchmark.grid import Grid, open_results, plan_grid, seconds_left, waves
from simcvd.benchmark.protocols import Protocol, changed
from simcvd.benchmark.units import seconds_of, steps_done, write_record
from simcvd.benchmark.worker import work
from simcvd.cli import app
from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.experiments import select
from simcvd.inference.model import weights_digest
from simcvd.types import SimcvdError

TINY = {
    "train_scans": 6,
    "test_scans": TEST,
    "spacing": (1.0, 1.0, 2.0),
    "patch": (16, 16, 8),
    "stride": (8, 8, 4),
    "widths": (4, 8, 8),
    "blocks": (1, 1, 1),
    "strides": ((2, 2, 2), (2, 2, 2)),
    "labeled": (3,),
    "seeds": (0,),
}
PAIR = ("supervised", "mean_teacher")
STEPS = 100  # of a run that is to be killed between its first checkpoint and its end
LONG = 600  # seconds, on a machine that does much else


def tiny(iterations: int = 4, **more: object) -> Protocol:
    return changed(find_protocol("hippocampus"), **TINY, iterations=iterations, **more)


def arguments(cache: Cache, out: Path, iterations: int, rows: tuple[str, ...] = PAIR) -> list[str]:
    """The command line for `tiny`."""
    changes = [f"--change={name}={value}" for name, value in TINY.items()]
    named = [f"--row={row}" for row in rows]
    place = [str(cache.root), "--protocol=hippocampus", f"--out={out}"]
    return ["benchmark", *place, *changes, f"--change=iterations={iterations}", *named]


def start(args: list[str], source: Path | None = None) -> subprocess.Popen[str]:
    """`simcvd` in a process of its own, writing checkpoints often."""
    places = [str(source or Path(simcvd.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "SIMCVD_CHECKPOINT_SECONDS": "0.3",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
    }
    command = [sys.executable, "-m", "simcvd.cli", *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=subprocess.STDOUT, encoding="utf-8", env=environment
    )


def finish(args: list[str], source: Path | None = None) -> str:
    process = start(args, source)
    output, _ = process.communicate(timeout=LONG)
    assert process.returncode == 0, output
    return output


def wait_for(condition: Callable[[], bool], seconds: float = LONG) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def tables(results: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (results / "tables").iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def run(grid: Grid) -> list[str]:
    """Run what is missing; the problems."""
    open_results(grid)
    return [ended.problem for ended in grid.run() if ended.problem]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return make_cache(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def whole(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pair's results, made without any mishap, two runs side by side."""
    out = tmp_path_factory.mktemp("whole") / "results"
    text = finish([*arguments(cache, out, STEPS), "--workers=2"])
    assert "0 of 2 runs done" in text
    assert "Leak audit: no scan twice" in text
    return out


def test_a_grid_that_is_done_is_only_read(cache: Cache, whole: Path) -> None:
    before = tables(whole)
    assert set(before) == {"methods.md", "methods.csv", "methods.tex"}
    assert b"MT" in before["methods.md"]
    assert b"V-Net" in before["methods.md"]
    assert "2 of 2 runs done" in finish(arguments(cache, whole, STEPS))
    assert tables(whole) == before


def test_killed_at_any_moment_and_typed_again(cache: Cache, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    second = out / "runs" / f"{PAIR[1]}-3-seed0"
    process = start(arguments(cache, out, STEPS))
    wait_for(lambda: (second / "checkpoints").is_dir() and any(second.glob("checkpoints/*.pt")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (second / "metrics.json").exists()
    finish(arguments(cache, out, STEPS))
    assert tables(out) == tables(whole)


def test_a_killed_worker_of_a_cluster_loses_nothing(
    cache: Cache, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("SIMCVD_CHECKPOINT_SECONDS", "0.3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "results"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        process = start([*arguments(cache, out, STEPS), f"--workers={cluster.scheduler_address}"])
        runs = [out / "runs" / f"{row}-3-seed0" / "checkpoints" for row in PAIR]
        wait_for(lambda: all(r.is_dir() and any(r.glob("*.pt")) for r in runs))
        victim = next(iter(cluster.workers.values())).pid
        os.kill(victim, signal.SIGKILL)
        output, _ = process.communicate(timeout=LONG)
    assert process.returncode == 0, output
    assert tables(out) == tables(whole)
    logs = [(out / "runs" / f"{row}-3-seed0.log").read_text(encoding="utf-8") for row in PAIR]
    assert sorted(log.count("simcvd train") for log in logs) == [1, 2]  # one was begun twice


def test_a_scheduler_that_does_not_answer(cache: Cache, whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    process = start([*arguments(cache, tmp_path / "new", STEPS), "--workers=tcp://127.0.0.1:9"])
    output, _ = process.communicate(timeout=LONG)
    assert process.returncode == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in output
    assert "Traceback" not in output


def test_a_failing_run_stops_no_other_and_is_named(
    cache: Cache, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = ("supervised+train.lr=1e30", "supervised")
    process = start(arguments(cache, tmp_path / "r", 4, rows))
    output, _ = process.communicate(timeout=LONG)
    assert process.returncode == 1
    assert "supervised-3-seed0 done" in output
    assert "1 run failed: supervised+train.lr=1e30-3-seed0" in output
    assert "not finite" in output  # the cause, out of the run's log
    again = plan_grid(cache.root, tiny(), select(rows), tmp_path / "r")
    assert [unit.name for unit in again.missing()] == [f"{rows[0]}-3-seed0"]


def test_dry_run_writes_nothing(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = plan_grid(cache.root, tiny(), select(PAIR), tmp_path / "r", seeds=(0, 1))
    assert len(grid.missing()) == 4
    assert not (tmp_path / "r").exists()
    seconds = seconds_left(grid, grid.missing())
    assert seconds["mean_teacher-3-seed0"] == pytest.approx(1.2 * seconds["supervised-3-seed0"])


def test_time_left_is_learnt_from_what_is_done(cache: Cache, tmp_path: Path) -> None:
    grid = plan_grid(cache.root, tiny(), select(PAIR), tmp_path / "r", seeds=(0, 1))
    assert not run(plan_grid(cache.root, tiny(), select(PAIR[:1]), tmp_path / "r"))
    missing = grid.missing()
    assert [unit.name for unit in missing] == [
        "mean_teacher-3-seed0",
        "supervised-3-seed1",
        "mean_teacher-3-seed1",
    ]
    took = seconds_of(grid.units[0])
    assert took is not None
    left = seconds_left(grid, missing)
    assert left["supervised-3-seed1"] == pytest.approx(took)
    assert left["mean_teacher-3-seed0"] == pytest.approx(1.2 * took)
    assert steps_done(grid.units[0])[0] == 4


def test_killed_after_its_scores_a_run_is_ended_like_any_other(
    cache: Cache, tmp_path: Path
) -> None:
    grid = plan_grid(cache.root, tiny(), select(PAIR[:1]), tmp_path / "r")
    (unit,) = grid.units
    assert not run(grid)
    whole, scores = unit.beside(".json").read_bytes(), contents(unit.scores)
    write_record(unit, cache)  # as before training; the scores are there
    assert grid.missing() == [unit]
    work(unit, cache.root)
    again, before = (json.loads(data) for data in (unit.beside(".json").read_bytes(), whole))
    assert again.pop("seconds").keys() == before.pop("seconds").keys()
    assert again == before
    assert contents(unit.scores) == scores
    assert not grid.missing()


def test_bases_come_first_and_no_two_seeds_share_one(cache: Cache, tmp_path: Path) -> None:
    rows = select(("supervised", "cps", "mean(supervised,self_training)"))
    strong = tiny(recipe="strong", base=3)
    grid = plan_grid(cache.root, strong, rows, tmp_path / "r", seeds=(0, 1))
    assert [unit.name for unit in grid.units] == [
        *(f"base-3-seed{seed}" for seed in (0, 1000, 2000, 1, 1001, 2001)),
        *(f"{row}-3-seed0" for row in ("supervised", "cps", "self_training", rows[2].id)),
        *(f"{row}-3-seed1" for row in ("supervised", "cps", "self_training", rows[2].id)),
    ]
    assert [len(wave) for wave in waves(grid.units)] == [6, 6, 2]  # bases, arms, means
    assert [unit.row.id for unit in waves(grid.units[6:])[-1]] == [rows[2].id] * 2
    unit = next(unit for unit in grid.units if unit.name == "self_training-3-seed0")
    work(unit, cache.root)
    made = {base.name: weights_digest(base.folder) for base in unit.bases}
    assert list(made) == ["base-3-seed0", "base-3-seed1000", "base-3-seed2000"]
    for path in (unit.folder / "pseudo_labels").glob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["models"] == list(made.values())
    record = json.loads(unit.beside(".json").read_text(encoding="utf-8"))
    assert record["seconds_of_bases"] == pytest.approx(
        sum(steps_done(base)[1] for base in unit.bases), abs=0.01
    )
    done = [unit.name for unit in grid.units if grid.states()[unit.name] == "done"]
    assert done == [*made, "self_training-3-seed0"]


def test_results_of_something_else_are_refused(cache: Cache, tmp_path: Path) -> None:
    grid = plan_grid(cache.root, tiny(), select(PAIR), tmp_path / "r")
    open_results(grid)
    with pytest.raises(SimcvdError, match="iterations: 4 -> 5"):
        plan_grid(cache.root, tiny(5), select(PAIR), tmp_path / "r")
    write_record(grid.units[0], cache, settings=["train.lr=7"])
    with pytest.raises(SimcvdError, match="other settings"):
        grid.missing()
    grid.units[0].beside(".json").write_text("[1]")
    with pytest.raises(SimcvdError, match="holds a list, no JSON object"):
        grid.missing()
    assert seconds_of(grid.units[0]) is None
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(SimcvdError, match="holds no benchmark"):
        plan_grid(cache.root, tiny(), select(PAIR), tmp_path / "mine")
    (grid.units[1].folder).mkdir(parents=True)
    with pytest.raises(SimcvdError, match="not made by a benchmark"):
        plan_grid(cache.root, tiny(), select(PAIR[1:]), tmp_path / "r").missing()


def test_unknown_names_are_refused_with_the_near_ones(cache: Cache, tmp_path: Path) -> None:
    for words, wanted, protocol in (
        ("did you mean simcvd", ("simcvdd",), "hippocampus"),
        ("did you mean hippocampus", PAIR, "hipocampus"),
    ):
        with pytest.raises(SimcvdError, match=words):
            benchmark(cache.root, tmp_path / "r", protocol=protocol, wanted=wanted)
    with pytest.raises(SimcvdError, match=r"training scans: 6 in .*, 160 in the protocol"):
        benchmark(cache.root, tmp_path / "r", protocol="hippocampus", wanted=PAIR)
    assert not (tmp_path / "r").exists()


def test_a_test_scan_in_the_training_list_is_refused(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "scans")
    shutil.copy(scans / "images" / "case0.nii.gz", scans / "images" / "case7.nii.gz")
    shutil.copy(scans / "labels" / "case0.nii.gz", scans / "labels" / "case7.nii.gz")
    leaky = prepare(scans, tmp_path / "cache", jobs=1)
    with pytest.raises(SimcvdError, match="case0, case7 hold the same voxels"):
        plan_grid(leaky.root, tiny(), select(PAIR), tmp_path / "r")


def test_patients_are_looked_for_by_a_pattern(
    cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unseen = "Leak audit: patients in both lists were not looked for, as no name pattern was given."
    command = arguments(cache, tmp_path / "r", 4, ("supervised",))

    def said(*options: str) -> str:
        app([*command, *options], standalone_mode=False)
        return capsys.readouterr().out

    text = said("--dry-run")
    assert f"Leak audit: no scan twice, none cropped by its label.\n{unseen}\n" in text
    text = said("--dry-run", r"--patient-pattern=case\d")  # each scan is a patient of its own
    assert "Leak audit: no scan twice, no patient in both lists, none cropped" in text
    assert unseen not in text
    text = said("--patient-pattern=cas(e)")  # all are the patient e
    shared = "Leak audit: patient e: case0, case1, case2"
    assert text.startswith("protocol hippocampus+")
    assert shared in text.splitlines()[1]
    table = tables(tmp_path / "r")["methods.md"].decode()
    assert "case6, case7 for testing." in table.partition(shared)[2].partition("| --- |")[0]
    with pytest.raises(SimcvdError, match=r"'scan' matches no scan; they are called case0"):
        said("--dry-run", "--patient-pattern=scan")
    with pytest.raises(SimcvdError, match="--only-tables reads none"):
        said("--only-tables", "--patient-pattern=cas(e)")


def test_memory_decides_how_many_run_side_by_side(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [*arguments(cache, tmp_path / "r", 4), "--workers=5", "--dry-run"]
    app(command, standalone_mode=False)
    assert "\n5 side by side: between" in capsys.readouterr().out
    monkeypatch.setattr("simcvd.benchmark.command.free_bytes", lambda: 1_000_000_000)
    app(command, standalone_mode=False)
    assert "\n2 side by side, not 5: a run takes about 0.3 GB" in capsys.readouterr().out


def test_a_cluster_is_not_asked_when_nothing_is_missing(
    cache: Cache, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("simcvd.workers.cluster.CONNECT_SECONDS", 1)
    before = tables(whole)
    app([*arguments(cache, whole, STEPS), "--workers=tcp://127.0.0.1:9"], standalone_mode=False)
    assert tables(whole) == before


def test_a_twelfth_method_is_one_file(cache: Cache, tmp_path: Path) -> None:
    """Dropped in, found, held to the contract, trained, and in the table."""
    source = tmp_path / "src"
    shutil.copytree(Path(simcvd.__file__).parent, source / "simcvd")
    methods = source / "simcvd" / "methods"
    text = (methods / "entropy_minimization.py").read_text(encoding="utf-8")
    text = text.replace('title = "Entropy Mini"', 'title = "Twelfth"')
    (methods / "twelfth.py").write_text(text, encoding="utf-8")
    assert "twelfth" in finish(["benchmark", "--list"], source)
    contract = Path(__file__).parents[1] / "methods" / "test_contract.py"
    root = Path(__file__).parents[2]
    tested = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            str(contract),
            "-k",
            "twelfth",
        ],
        env={**os.environ, "PYTHONPATH": str(source)},
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert tested.returncode == 0, tested.stdout
    assert " passed" in tested.stdout
    output = finish(arguments(cache, tmp_path / "r", 4, ("supervised", "twelfth")), source)
    assert "| Twelfth | 3 | 1 |" in output
