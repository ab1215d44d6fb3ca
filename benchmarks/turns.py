"""Two ways of doing one job, each in a process of its own, taking turns.

A process of its own, because simcvd changes how its process keeps memory
(src/simcvd/machine.py) and a reference must not profit from that, and because only so
each has a peak memory. Turns, so that the ratio survives a machine whose speed drifts.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from rows import Row

Job = Callable[[], Any]
# What makes a job inside its process, and its arguments; both travel by pickle.
Recipe = tuple[Callable[..., Job], tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one of the two took: seconds of every turn, peak in bytes, what it last returned."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    peak: int
    value: Any


def in_turn(
    recipes: dict[str, Recipe], *, rounds: int, warmup: int = 0, apart: bool = True
) -> dict[str, Side]:
    """Run every recipe's job ``warmup + rounds`` times, one after the other.

    ``apart=False`` runs them all in this process: sooner begun, and their peaks mean nothing.
    """
    kind = _Worker if apart else _Here
    workers = {name: kind(*recipe) for name, recipe in recipes.items()}
    turns: dict[str, list[tuple[float, float, Any]]] = {name: [] for name in recipes}
    try:
        for _ in range(warmup + rounds):
            for name, worker in workers.items():
                turns[name].append(worker.ask("turn"))
        peaks = {name: worker.ask("end") for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.stop()
    return {
        name: Side(
            wall=tuple(wall for wall, _, _ in took[warmup:]),
            cpu=tuple(cpu for _, cpu, _ in took[warmup:]),
            peak=peaks[name],
            value=took[-1][2],
        )
        for name, took in turns.items()
    }


def row(name: str, reference: str, ours: Side, theirs: Side, note: str = "") -> Row:
    """The two sides as a line of the table: medians over the turns."""
    return Row(
        name=name,
        reference=reference,
        seconds=median(ours.wall),
        reference_seconds=median(theirs.wall),
        cpu_ratio=median(theirs.cpu) / median(ours.cpu),
        peak=ours.peak,
        reference_peak=theirs.peak,
        note=note,
    )


class _Worker:
    """A process that makes its job, then does it whenever asked."""

    def __init__(self, make: Callable[..., Job], arguments: tuple[Any, ...]) -> None:
        context = get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, make, arguments))
        self.process.start()
        other.close()
        self._answer()

    def ask(self, what: str) -> Any:
        self.pipe.send(what)
        return self._answer()

    def stop(self) -> None:
        self.pipe.close()  # a worker that still waits ends by it
        self.process.join()

    def _answer(self) -> Any:
        try:
            good, value = self.pipe.recv()
        except EOFError as error:
            raise RuntimeError("a measuring process died, perhaps of too little memory") from error
        if not good:
            raise RuntimeError(f"in a measuring process:\n{value}")
        return value


class _Here:
    """The same in this process."""

    def __init__(self, make: Callable[..., Job], arguments: tuple[Any, ...]) -> None:
        self.job = make(*arguments)

    def ask(self, what: str) -> Any:
        return _timed(self.job) if what == "turn" else _peak()

    def stop(self) -> None:
        pass


def _serve(pipe: Connection, make: Callable[..., Job], arguments: tuple[Any, ...]) -> None:
    try:
        job = make(*arguments)
        pipe.send((True, None))
        while pipe.recv() == "turn":
            pipe.send((True, _timed(job)))
        pipe.send((True, _peak()))
    except EOFError:
        return
    except BaseException:
        pipe.send((False, traceback.format_exc()))
    finally:
        if "joblib" in sys.modules:  # its idle processes would keep this one for minutes
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(kill_workers=True)


def _timed(job: Job) -> tuple[float, float, Any]:
    cpu, wall = time.process_time(), time.perf_counter()
    value = job()
    return time.perf_counter() - wall, time.process_time() - cpu, value


def _peak() -> int:
    """Most bytes this process held; of the device where it used one."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return peak_of(Path("/proc/self/status").read_text(encoding="utf-8"))


def peak_of(status: str) -> int:
    """VmHWM of a ``/proc/<pid>/status`` in bytes; ru_maxrss would count the parent's, too."""
    lines = (line.split() for line in status.splitlines())
    return next(int(words[1]) * 1024 for words in lines if words and words[0] == "VmHWM:")
