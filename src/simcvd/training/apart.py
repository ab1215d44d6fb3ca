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
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from simcvd.escape import prepare_streams
from simcvd.machine import is_command, visible_gpus
from simcvd.training.stop import Interrupted, terminated_as_interrupted
from simcvd.types import SimcvdError
from simcvd.workers.processes import in_parallel, on_cluster

TAIL = 12  # lines of a failed process's log that are shown
# Say that a command writes to a terminal; its processes write to logs.
OF_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE")


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


def execute(
    call: Call,
    side_by_side: int,
    gpu: str | None = None,
    started: Callable[[subprocess.Popen[bytes]], object] = lambda process: None,
) -> Ended:
    """Do it in a process of its own, which stops with a checkpoint if this one is killed.

    side_by_side: processes at once on one machine, which share out this one's threads: those that
    wait for each other's cores cost far more than they bring. gpu: the only one that it sees, as
    CUDA_VISIBLE_DEVICES names it; None leaves that as it is. started: is given the process.
    """
    call.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k not in OF_TERMINAL}
    environment["PYTHONIOENCODING"] = "utf-8"
    if side_by_side > 1:
        each = str(shared_threads(side_by_side))
        environment |= {"OMP_NUM_THREADS": each, "MKL_NUM_THREADS": each}
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    command = [sys.executable, "-m", "simcvd.training.apart"]
    with (
        call.log.open("ab") as output,
        subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
        ) as process,
    ):
        started(process)
        assert process.stdin is not None
        rest = memoryview(pickle.dumps(call.do))
        with suppress(BrokenPipeError):  # it has ended already, and its log says why
            while rest:
                rest = rest[process.stdin.write(rest) :]
        code = process.wait()  # its input left open, whose end tells it to stop
    return Ended(name=call.name, problem=_problem(code, call.log) if code else "")


def execute_all(calls: Sequence[Call], *, jobs: int = 1) -> Iterator[Ended]:
    """Execute them and give back each as it ends, in no fixed order.

    jobs: processes side by side on this machine, each on a GPU of its own while there are enough,
    and else as many on each as on any other. In a block of `on_workers` a cluster's workers take
    them, one for each of their threads, with the cores and GPUs that a worker was given.
    """
    where = nullcontext(partial(execute, side_by_side=1)) if on_cluster() else _here(jobs)
    with where as do:
        yield from in_parallel(do, calls, jobs, "running", quiet=True, threads=True)


@contextmanager
def _here(jobs: int) -> Iterator[Callable[[Call], Ended]]:
    """`execute` on one of the GPUs with the fewest processes; as it is where there is none.

    None outlives the block: what is interrupted waits until each has written its checkpoint.
    """
    free = SimpleQueue[str | None]()
    for gpu in islice(cycle(visible_gpus() or [None]), jobs):
        free.put(gpu)
    processes, ending = list[subprocess.Popen[bytes]](), threading.Event()

    def do(call: Call) -> Ended:
        if ending.is_set():
            return Ended(name=call.name, problem="was not begun")
        gpu = free.get()
        try:
            return execute(call, jobs, gpu, processes.append)
        finally:
            free.put(gpu)

    try:
        with terminated_as_interrupted():
            yield do
    except KeyboardInterrupt:
        raise Interrupted("stopped; re-run the same command to resume") from None
    finally:
        ending.set()
        for process in processes:
            if process.stdin:
                process.stdin.close()
        for process in processes:
            process.wait()


def _problem(code: int, log: Path) -> str:
    """In a line how a process ended, and below it the end of its log."""
    how = f"ended with code {code}"
    if code < 0:
        how = f"was ended by signal {-code}"
    if -code == signal.SIGKILL:
        how += ", as the system does where memory runs out: have fewer at once"
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        return f"{how}; the end of {log}:\n    " + "\n    ".join(lines)
    return f"{how}; {log} is gone"


def main() -> int:
    """Do what `execute` sends through standard input, and watch for its end."""
    is_command()
    prepare_streams()
    do = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        do()
    except KeyboardInterrupt:
        return Interrupted.exit_code
    except SimcvdError as error:
        print(f"simcvd: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _stop_with_parent() -> None:
    # Not through sys.stdin, whose lock a thread still reading would hold at the end of the process.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
