"""Work on many things at once: in processes of this machine, or on a Dask cluster's workers."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from multiprocessing import current_process
from pathlib import Path
from typing import Any, TypeVar

from simcvd.types import SimcvdError
from simcvd.workers.cluster import SLURM, Cluster, as_command, connected

Item = TypeVar("Item")
Result = TypeVar("Result")
# So many processes are let be on any machine, and so many a processor on a large one.
FEW, PER_PROCESSOR = 64, 4
_cluster: ContextVar[Cluster | None] = ContextVar("cluster", default=None)


def processes_of(workers: str | int | None) -> int | None:
    """The number of processes that ``--workers`` asks for; None for none, and for a cluster.

    Raises SimcvdError for what is no number from 1 to what this machine may bear, no address and
    no ``slurm:FILE``.
    """
    if workers is None or is_cluster(workers):
        return None
    most = max(FEW, PER_PROCESSOR * (os.cpu_count() or 1))
    if str(workers) not in map(str, range(1, most + 1)):
        raise SimcvdError(
            f"--workers {workers}: give a number of processes from 1 to {most}, the address of a "
            f"Dask scheduler such as tcp://host:8786, or {SLURM}FILE"
        )
    return int(workers)


def is_cluster(workers: str | int | None) -> bool:
    """Whether ``--workers`` names other machines."""
    return isinstance(workers, str) and ":" in workers


@contextmanager
def on_workers(
    workers: str | int | None,
    *,
    reads: Iterable[Path | str | None] = (),
    writes: Path | None = None,
) -> Iterator[int | None]:
    """`in_parallel` inside the block goes over ``workers``; gives the number of local processes.

    workers: a number, the address of a Dask scheduler, or ``slurm:FILE`` (see `connected`); None
    leaves each step its default. reads, writes: files and folders that every worker must see; the
    latter is made. Raises SimcvdError where the scheduler does not answer, and for workers of
    another version and without the folders.
    """
    count = processes_of(workers)
    if not isinstance(workers, str) or not is_cluster(workers):
        yield count
        return
    seen = [Path(path) for path in reads if path is not None]
    with connected(workers, seen, writes) as cluster:
        token = _cluster.set(cluster)
        try:
            yield None
        finally:
            _cluster.reset(token)


def on_cluster() -> bool:
    """Whether this is a block of `on_workers` with a cluster."""
    return _cluster.get() is not None


def shared_out(jobs: int | None) -> bool:
    """Whether work is for several processes, by ``jobs`` or by the block of `on_workers`."""
    return on_cluster() or (jobs is not None and jobs > 1)


def in_parallel(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    jobs: int | None,
    what: str,
    quiet: bool,
    *,
    threads: bool = False,
) -> Iterator[Any]:
    """Results of `function` over `items` as they come, with a progress bar.

    jobs: processes on this machine, None for as many as there are processors; not looked at on
    a cluster. threads: threads instead, on this machine, for what starts processes of its own.
    A worker of a cluster that dies loses nothing: what it worked on is done again elsewhere.
    Raises SimcvdError where a local process dies, and for what killed several workers.
    """
    if not items:
        return
    from rich.console import Console
    from rich.progress import track

    cluster = _cluster.get()
    results = cluster.map(function, items) if cluster else _here(function, items, jobs, threads)
    yield from track(
        results,
        total=len(items),
        description=what,
        disable=quiet,
        transient=True,
        console=Console(stderr=True),
    )


def _in_folder(folder: Path, function: Callable[[Any], Any], item: Any) -> Any:
    """As a command there: a process that is used again may have begun in another folder."""
    os.chdir(folder)
    return as_command(function, item)


def _here(
    function: Callable[[Any], Any], items: Sequence[Any], jobs: int | None, threads: bool
) -> Iterator[Any]:
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    # Of processes that idled for minutes, or grew: others take their place, and nothing is lost.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    processes = min(jobs or joblib.cpu_count(), len(items))
    do = function if threads or processes == 1 else partial(_in_folder, Path.cwd(), function)
    parallel = joblib.Parallel(
        n_jobs=processes,
        backend="threading" if threads else None,
        return_as="generator_unordered",
        # Threads hold runs of hours: the next is taken when one is free, and not before.
        **({"batch_size": 1, "pre_dispatch": "n_jobs"} if threads else {}),
    )
    try:
        yield from parallel(joblib.delayed(do)(item) for item in items)
    except TerminatedWorkerError as error:
        raise SimcvdError(
            "a process was killed, as the system does where memory runs out. What was finished is "
            "kept: re-run the same command with fewer --workers"
        ) from error


def own_device(device: str) -> str:
    """``cuda`` as the GPU that this process of `in_parallel` shares with the fewest others."""
    import torch

    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    number = current_process().name.rpartition("-")[2]
    return f"cuda:{int(number) % gpus}" if gpus and number.isdecimal() else device


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, eager: bool
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Every item with a function that gives its result, or raises what `function` raised.

    eager: a thread makes the next item's result while the caller works on this one's; else it is
    made when it is asked for.
    """
    if not eager:
        for item in items:
            yield item, lambda item=item: function(item)  # type: ignore[misc]
        return
    with ThreadPoolExecutor(1) as thread:
        waiting: tuple[Item, Future[Result]] | None = None
        for item in items:
            before, waiting = waiting, (item, thread.submit(function, item))
            if before:
                yield before[0], before[1].result
        if waiting:
            yield waiting[0], waiting[1].result


one_at_a_time = threading.Lock()
"""Held while a process segments a scan: a Dask worker may have several threads, torch's state
is the process's."""
