"""Runs of a grid, each in a process of its own: on this machine, or on a Dask cluster.

A run is never lost with its process: it goes on from its last checkpoint wherever it is started
next, on any machine that sees the same folders.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from queue import SimpleQueue

from simcvd.benchmark.units import Unit
from simcvd.types import SimcvdError

TAIL = 12  # lines of a failed run's log that are shown
CONNECT_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run's process that is over. problem: "" where the run is trained and scored."""

    name: str
    problem: str


def execute(unit: Unit, root: Path, side_by_side: int, gpu: str | None = None) -> Ended:
    """One run in a process of its own, which stops with a checkpoint if this one is killed.

    root: the cache. side_by_side: runs at once on one machine, which share out its cores: threads
    that wait for each other's cores cost far more than they bring. gpu: the only one that it sees,
    as CUDA_VISIBLE_DEVICES names it; None leaves that as it is.
    """
    log = unit.beside(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if side_by_side > 1:
        environment["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // side_by_side, 1))
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    command = [sys.executable, "-m", "simcvd.benchmark.worker"]
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment
        ) as process,
    ):
        assert process.stdin is not None
        pickle.dump((unit, root), process.stdin)
        process.stdin.flush()  # and left open: its end tells the run to stop
        try:
            code = process.wait()
        except BaseException:
            process.stdin.close()
            process.wait()
            raise
    return Ended(name=unit.name, problem=_problem(code, log) if code else "")


def execute_all(
    units: Sequence[Unit], root: Path, *, jobs: int = 1, dask: str | None = None
) -> Iterator[Ended]:
    """Execute runs and give back each as it ends, in no fixed order.

    jobs: runs side by side on one machine, each on a GPU of its own while there are enough, and
    else as many on each as on any other. dask: address of a scheduler, whose workers take the
    runs instead, one for each of their threads; ``jobs`` of them share a machine.
    It is not asked when there is nothing to run: tables need no cluster.
    Raises SimcvdError where the scheduler cannot be reached.
    """
    if not units:
        return
    import joblib

    with _backend(dask):
        parallel = joblib.Parallel(
            n_jobs=-1 if dask else jobs,
            backend=None if dask else "threading",
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch="all" if dask else "1 * n_jobs",
        )
        do = joblib.delayed(execute if dask else _OnFreeGPU(jobs))
        yield from parallel(do(unit, root, jobs) for unit in units)


def visible_gpus() -> list[str]:
    """The names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else map(str, range(count))
    return [name.strip() for name in names][:count]


class _OnFreeGPU:
    """`execute` on one of the GPUs with the fewest runs; as it is where there is none."""

    def __init__(self, jobs: int) -> None:
        self._free: SimpleQueue[str | None] = SimpleQueue()
        for gpu in islice(cycle(visible_gpus() or [None]), jobs):
            self._free.put(gpu)

    def __call__(self, unit: Unit, root: Path, side_by_side: int) -> Ended:
        gpu = self._free.get()
        try:
            return execute(unit, root, side_by_side, gpu)
        finally:
            self._free.put(gpu)


@contextmanager
def _backend(scheduler: str | None) -> Iterator[None]:
    if scheduler is None:
        yield
        return
    import joblib

    try:
        from distributed import Client
    except ImportError as error:
        raise SimcvdError(
            "runs on a Dask cluster need the package distributed; pip install 'simcvd[dask]'"
        ) from error
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise SimcvdError(
            f"no Dask scheduler answers at {scheduler} ({error}). Nothing was started and nothing "
            "is lost; start one (dask scheduler), check the address, and type the command again"
        ) from error
    with client, joblib.parallel_config(backend="dask", client=client):
        yield


def _problem(code: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{how}; the end of {log}:\n    " + "\n    ".join(lines)
