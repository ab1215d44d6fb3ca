"""A Dask cluster does what one process does, bit for bit, also where workers are killed."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.small import NETWORK, TRAIN

import simcvd
from simcvd.checking.check import check
from simcvd.data.prepare import prepare
from simcvd.inference.predict import predict_files
from simcvd.training.loop import train
from simcvd.training.score_run import score_run
from simcvd.types import SimcvdError
from simcvd.workers import cluster as module
from simcvd.workers import processes as workers
from simcvd.workers.processes import in_parallel, on_workers, processes_of

distributed = pytest.importorskip("distributed")
dask_settings = pytest.importorskip("dask").config

SCANS, TEST, LABELED = 60, 12, 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Balls in noise, the last ones for testing."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*map(np.arange, (18, 16, 10)), indexing="ij"))
    images, labels = {}, {}
    for name in [f"scan{i:02d}" for i in range(SCANS)]:
        radius = np.sqrt(((grid - rng.uniform(5, 9, 3).reshape(3, 1, 1, 1)) ** 2).sum(0))
        labels[name] = (radius < 4).astype(np.uint8)
        images[name] = 2 * labels[name] + rng.normal(0, 0.5, radius.shape)
    folder = tmp_path_factory.mktemp("data") / "scans"
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    return simcvd.write_scans(folder, images, labels, affines=affine, test=[*images][-TEST:])


@pytest.fixture(scope="module")
def whole(scans: Path) -> Path:
    """A cache and a short training of it, made in one process."""
    home = scans.parent
    prepare(scans, home / "cache", jobs=1, quiet=True)
    train(
        home / "cache",
        home / "run",
        method="supervised",
        labeled=LABELED,
        train=TRAIN,
        network=NETWORK,
    )
    return home


def killing(cluster: Any, work: Callable[[], Any]) -> Any:
    """The result of ``work``, during which a worker that has something to do is killed."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not (killed or over.is_set()):
            busy = [w.name for w in list(cluster.scheduler.workers.values()) if w.processing]
            for name in busy[:1]:
                killed.append(cluster.workers[name].pid)
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.002)

    killer = threading.Thread(target=kill)
    killer.start()
    with on_workers(cluster.scheduler_address):
        result = work()
    over.set()
    killer.join()
    assert killed
    return result


def files(folder: Path, *kinds: str) -> dict[str, bytes]:
    found = [path for kind in kinds for path in folder.rglob(kind)]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.is_file()}


def test_check_and_prepare(cluster: Any, scans: Path, whole: Path, tmp_path: Path) -> None:
    one = check(scans, splits=True, jobs=1, quiet=True)
    other = killing(cluster, lambda: check(scans, splits=True, quiet=True))
    assert dataclasses.replace(other, seconds=one.seconds) == one
    killing(cluster, lambda: prepare(scans, tmp_path / "cache", quiet=True))
    assert files(tmp_path / "cache", "*") == files(whole / "cache", "*")


def test_predict_and_typed_again_does_nothing(
    cluster: Any, scans: Path, whole: Path, tmp_path: Path
) -> None:
    inputs, one, other = [scans / "images"], tmp_path / "one", tmp_path / "other"
    predict_files(whole / "run", inputs, one, device="cpu")
    made = killing(cluster, lambda: predict_files(whole / "run", inputs, other, device="cpu"))
    assert len(made) == SCANS
    kinds = ("*.nii.gz", "*.csv", "*.json")
    assert files(one, *kinds) == files(other, *kinds)
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*.*z*")}
    assert len(before) == 2 * SCANS  # with the records
    with on_workers(cluster.scheduler_address):
        predict_files(whole / "run", inputs, other, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*.*z*")} == before


def test_evaluate(cluster: Any, whole: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    score_run(whole / "run", out=one, quiet=True)
    killing(cluster, lambda: score_run(whole / "run", out=other, quiet=True))
    assert files(one, "*.nii.gz", "*.csv", "*.json", "*.md") == files(
        other, "*.nii.gz", "*.csv", "*.json", "*.md"
    )


def test_processes_of_this_machine(scans: Path, whole: Path, tmp_path: Path) -> None:
    inputs = sorted((scans / "images").iterdir())[:5]
    for processes, out in ((None, tmp_path / "one"), (2, tmp_path / "two")):
        predict_files(whole / "run", inputs, out, device="cpu", processes=processes)
    assert files(tmp_path / "one", "*.*") == files(tmp_path / "two", "*.*")


def test_relative_paths_are_those_of_the_command(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with on_workers(cluster.scheduler_address, writes=Path("out")) as jobs:
        assert [*in_parallel(str, [Path("a/b")], jobs, "", True)] == [str(tmp_path / "a" / "b")]
    assert [*(tmp_path / "out").iterdir()] == []


def test_workers_that_cannot_do_it_are_named(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = cluster.scheduler_address
    with (
        pytest.raises(SimcvdError, match=r"tcp://\S+: does not see .*/nowhere\n"),
        on_workers(address, reads=[tmp_path, tmp_path / "nowhere"]),
    ):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(simcvd, "__version__", "9.9")
        with (
            pytest.raises(SimcvdError, match=r"has simcvd \S+, and this is 9\.9"),
            on_workers(address),
        ):
            pass
    with pytest.raises(SimcvdError, match=r"worker on .* has simcvd"):  # one that came late
        module._call(("9.9", ()), b"")


def test_what_kills_its_workers_is_named(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    with on_workers(cluster.scheduler_address) as jobs:
        results = in_parallel(
            lambda _: os.kill(os.getpid(), signal.SIGKILL), ["no"], jobs, "", True
        )
        with pytest.raises(SimcvdError, match="no: worker after worker died"):
            list(results)
        assert [*in_parallel(abs, [-1], jobs, "", True)] == [1]


def test_a_result_that_could_not_be_fetched_is_asked_for_again(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, failing = distributed.Client._gather, iter([True] * 3)

    async def busy(*arguments: Any, **named: Any) -> Any:
        if next(failing, False):
            raise OSError("Timed out trying to connect")
        return await fetch(*arguments, **named)

    monkeypatch.setattr(distributed.Client, "_gather", busy)
    with on_workers(cluster.scheduler_address) as jobs:
        assert sorted(in_parallel(abs, range(-3, 0), jobs, "", True)) == [1, 2, 3]
        failing = iter([True] * 100)
        with pytest.raises(SimcvdError, match=r"scheduler is gone .*Timed out.*re-run the same"):
            list(in_parallel(abs, [-1], jobs, "", True))


def test_a_scheduler_that_is_killed_is_told_in_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("distributed.client"), "propagate", True)
    with scheduler_in(tmp_path) as (scheduler, address), dask("worker", address):
        pid = scheduler.pid
        with pytest.raises(SimcvdError, match=GONE), on_workers(address):
            list(in_parallel(lambda _: os.kill(pid, signal.SIGKILL), [0], None, "", True))
    assert [record for record in caplog.records if record.name == "distributed.client"] == []


def test_a_scheduler_that_went_away_while_a_result_was_worked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has closed itself by then."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    with (
        scheduler_in(tmp_path) as (scheduler, address),
        dask("worker", address),
        on_workers(address),
    ):
        client = workers._cluster.get().client  # type: ignore[union-attr]
        results = in_parallel(lambda item: time.sleep(30 * item), [0, 1], None, "", True)
        next(results)
        scheduler.kill()
        while client.status != "closed":
            time.sleep(0.05)
        with pytest.raises(SimcvdError, match=GONE):
            next(results)


def test_a_scheduler_that_goes_away_before_there_is_a_worker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    with scheduler_in(tmp_path) as (scheduler, address):
        threading.Timer(1, scheduler.kill).start()
        with pytest.raises(SimcvdError, match=GONE), on_workers(address):
            pass
    assert "waiting for the first" in capsys.readouterr().err


def test_that_no_worker_is_left_is_told_and_another_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    with scheduler_in(tmp_path) as (_, address), ExitStack() as later:
        with dask("worker", address, "--no-nanny") as first, on_workers(address):
            pid, said = first.pid, list[str]()

            def deadly_once(item: int) -> int:
                if os.getpid() == pid:
                    os.kill(pid, signal.SIGKILL)
                return item

            def replace() -> None:
                while not said or "no worker is left" not in said[-1]:
                    time.sleep(0.1)
                    said.append("".join(said[-1:]) + capsys.readouterr().err)
                later.enter_context(dask("worker", address, "--no-nanny"))

            threading.Thread(target=replace, daemon=True).start()
            assert list(in_parallel(deadly_once, [7], None, "", True)) == [7]
        assert said[-1].count("no worker is left") == 1


GONE = r"^the Dask scheduler is gone \(.*re-run the same command$"


@contextmanager
def scheduler_in(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler's process, and its address."""
    file = folder / "scheduler.json"
    where = ["--scheduler-file", str(file), "--no-dashboard", "--host", "127.0.0.1", "--port", "0"]
    with dask("scheduler", *where) as process:
        while not (file.exists() and file.read_bytes()):
            time.sleep(0.05)
        yield process, json.loads(file.read_bytes())["address"]


@contextmanager
def dask(kind: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask's own, which says nothing."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1.5", "1000000", "9" * 5000])
def test_a_number_that_is_none(workers: str) -> None:
    with pytest.raises(
        SimcvdError, match=f"--workers {workers}: give a number of processes from 1 to "
    ):
        processes_of(workers)


def test_slurm(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = slurm_in(tmp_path, monkeypatch, jobs=2)
    with on_workers(f"slurm:{jobs}", reads=[scans], writes=tmp_path / "out") as processes:
        found = [*in_parallel(abs, range(-20, 0), processes, "", True)]
    assert sorted(found) == [*range(1, 21)]
    jobs.write_text("jobs = 2\nkernels = 1\n")
    with (
        pytest.raises(SimcvdError, match=r"slurm\.toml: SLURMCluster rejects it"),
        on_workers(f"slurm:{jobs}"),
    ):
        pass
    for text in ('"two"', "0", "true"):
        jobs.write_text(f'jobs = {text}\ncores = 1\nmemory = "1GB"\n')
        with pytest.raises(SimcvdError, match=r"jobs = .*1 or more"), on_workers(f"slurm:{jobs}"):
            pass
    with pytest.raises(SimcvdError, match=r"cannot be read.*TOML"), on_workers("slurm:nowhere"):
        pass


def test_an_interrupted_wait_for_slurm_is_no_success() -> None:
    """What Ctrl-C does stays as it was: importing dask_jobqueue makes it an exit with 0."""
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in a background job
        "from simcvd.workers.processes import on_workers\n"
        "try:\n"
        "    with on_workers('slurm:nowhere'): pass\n"
        "except Exception as error: print(error)\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "nowhere: cannot be read" in ended.stdout
    assert "KeyboardInterrupt" in ended.stderr
    assert ended.returncode == -signal.SIGINT


def test_a_job_of_slurm_that_ends_is_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the time limit that all of them have; nobody would do the rest of the work."""
    jobs, ended = slurm_in(tmp_path, monkeypatch), tmp_path / "ended"
    jobs.write_text('worker_extra_args = ["--no-nanny"]\n' + jobs.read_text())

    def work(item: int) -> int:
        if not ended.exists():
            ended.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with (
        dask_settings.set({"distributed.deploy.lost-worker-timeout": "1s"}),
        on_workers(f"slurm:{jobs}") as processes,
    ):
        assert sorted(in_parallel(work, range(3), processes, "", True)) == [0, 1, 2]


def slurm_in(folder: Path, monkeypatch: pytest.MonkeyPatch, jobs: int = 1) -> Path:
    """Slurm's commands are stood in for by a shell; the jobs that they start are real."""
    copied = 'script=$(mktemp) && cp "$1" "$script"\n'  # Dask removes the one that it gave
    for name, script in (
        ("sbatch", f'{copied}sh "$script" > "$script.out" 2>&1 &\necho "Submitted batch job $!"\n'),
        ("scancel", 'kill "$@"\n'),
    ):
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(folder))
    file = folder / "slurm.toml"
    file.write_text(
        f'jobs = {jobs}\ncores = 1\nmemory = "1GB"\ninterface = "lo"\n'
        f'log_directory = "{folder / "logs"}"\n'
        '[scheduler_options]\ndashboard_address = ""\n'
    )
    return file


def test_a_job_that_slurm_does_not_take_ends_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = slurm_in(tmp_path, monkeypatch)
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho invalid account >&2\nexit 1\n")
    with (
        pytest.raises(SimcvdError, match=r"Slurm refuses the job(?s:.*)invalid account"),
        on_workers(f"slurm:{jobs}"),
    ):
        pass
    assert "Traceback" not in capsys.readouterr().err
