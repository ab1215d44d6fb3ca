"""Trainings in processes of their own, on this machine or a cluster: ``python -m
simcvd.training.apart`` is one of them.

None is lost with its process: it goes on from its last checkpoint wherever it is started next, on
any machine that sees the same folders. A process stops, with a checkpoint, as soon as its standard
input ends: that is when whoever started it is gone, by whatever signal. So a killed worker leaves
no training behind that nobody waits for.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from simcvd.machine import is_command, visible_gpus
from simcvd.training.stop import Interrupted
from simcvd.types import SimcvdError
from simcvd.workers.processes import in_parallel, on_cluster

TAIL = 12  # lines of a failed process's log that are shown
STOPPED = 130


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a process of its own does. do: raises SimcvdError for what the user can mend.

    log: the file that its output is added to.
    """

    name: str
    do: Callable[[], Any]
    log: Path


def shared_threads(processes: int) -> int:
    """Threads for each of so many processes at once."""
    return max(torch.get_num_threads() // processes, 1)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that is over. problem: "" where it did what it was to do."""

    name: str
    problem: str


def execute(call: Call, side_by_side: int, gpu: str | None = None) -> Ended:
    """Do it in a process of its own, which stops with a checkpoint if this one is killed.

    side_by_side: processes at once on one machine, which share out this one's threads: those that
    wait for each other's cores cost far more than they bring. gpu: the only one that it sees, as
    CUDA_VISIBLE_DEVICES names it; None leaves that as it is.
    """
    call.log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if side_by_side > 1:
        environment["OMP_NUM_THREADS"] = str(shared_threads(side_by_side))
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    command = [sys.executable, "-m", "simcvd.training.apart"]
    with (
        call.log.open("ab") as output,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment
        ) as process,
    ):
        assert process.stdin is not None
        pickle.dump(call.do, process.stdin)
        process.stdin.flush()  # and left open: its end tells the process to stop
        try:
            code = process.wait()
        except BaseException:
            process.stdin.close()
            process.wait()
            raise
    return Ended(name=call.name, problem=_problem(code, call.log) if code else "")


def execute_all(calls: Sequence[Call], *, jobs: int = 1) -> Iterator[Ended]:
    """Execute them and give back each as it ends, in no fixed order.

    jobs: processes side by side on this machine, each on a GPU of its own while there are enough,
    and else as many on each as on any other. In a block of `on_workers` a cluster's workers take
    them, one for each of their threads, with the cores and GPUs that a worker was given.
    """
    do = partial(execute, side_by_side=1) if on_cluster() else _OnFreeGPU(jobs)
    yield from in_parallel(do, calls, jobs, "running", quiet=True, threads=True)


class _OnFreeGPU:
    """`execute` on one of the GPUs with the fewest processes; as it is where there is none."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._free: SimpleQueue[str | None] = SimpleQueue()
        for gpu in islice(cycle(visible_gpus() or [None]), jobs):
            self._free.put(gpu)

    def __call__(self, call: Call) -> Ended:
        gpu = self._free.get()
        try:
            return execute(call, self._jobs, gpu)
        finally:
            self._free.put(gpu)


def _problem(code: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"{how}; the end of {log}:\n    " + "\n    ".join(lines)


def main() -> int:
    """Do what `execute` sends through standard input, and watch for its end."""
    is_command()
    do = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        do()
    except (Interrupted, KeyboardInterrupt):
        return STOPPED
    except SimcvdError as error:
        print(f"simcvd: {error}", file=sys.stderr)
        return 1
    return 0


def _stop_with_parent() -> None:
    # Not through sys.stdin, whose lock a thread still reading would hold at the end of the process.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
