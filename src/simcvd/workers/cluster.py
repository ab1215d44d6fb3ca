"""A Dask cluster: reached or asked of Slurm, its workers looked at, and given the work.

Functions and what they take are pickled here, relative paths as absolute ones, since a worker
stands in another folder; Dask sees bytes, which it sends again where a worker dies.
"""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from uuid import uuid4

import simcvd
from simcvd.files import HOST, UTF8, CannotWrite, complaint, parse_toml
from simcvd.machine import is_command
from simcvd.plugins import optional
from simcvd.types import SimcvdError
from simcvd.wording import few

SLURM = "slurm:"
CONNECT_SECONDS = 10
WAIT_SECONDS = 1
LOOK_SECONDS = 10.0  # between looks whether any worker is left
FETCHES = 5
# The version, and each path that is looked for with what a message calls it.
Needs = tuple[str, tuple[tuple[str, str], ...]]
AGAIN = "What was finished is kept: re-run the same command"


@dataclass(frozen=True)
class Cluster:
    """client: of `distributed`. needs: what every worker must have."""

    client: Any
    needs: Needs

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Results as they come. Whatever dies with a worker is done again by another.

        Raises SimcvdError for a worker that came later and is none of ours, for a scheduler that
        is gone and, after all others, for items on which one worker after another died.
        """
        from distributed import KilledWorker, as_completed

        deadly: list[str] = []
        calls = [_pickled((function, item)) for item in items]
        call = functools.partial(_call, self.needs)
        futures = self.client.map(call, calls, key=f"simcvd-{uuid4().hex}", pure=False)
        waiting = {future.key: (future, i) for i, future in enumerate(futures)}
        # Not with results: one that cannot be fetched at once would never be given out.
        done = as_completed(futures, loop=self.client.loop)
        del futures  # a result is dropped by its worker with the last future of it
        try:
            with _saying_when_alone(self.client):
                for future in done:
                    _, i = waiting.pop(future.key)
                    try:
                        result = _result(future)
                    except KilledWorker:
                        deadly.append(getattr(items[i], "name", str(items[i])))
                    else:
                        yield result
                    future.release()
        finally:
            with suppress(Exception):  # a client whose scheduler is gone closes itself meanwhile
                self.client.cancel([future for future, _ in waiting.values()])
        if deadly:
            raise SimcvdError(
                f"{few(deadly)}: worker after worker died on it, as they do where memory runs "
                f"out. {AGAIN}, with more memory a worker"
            )


@contextmanager
def _saying_when_alone(client: Any) -> Iterator[None]:
    """Say it each time the last worker goes while the block runs: the work waits for another."""
    ended = threading.Event()

    def look() -> None:
        before = True
        while not ended.wait(LOOK_SECONDS):
            with suppress(Exception):  # a scheduler that is gone is told by `_result`
                now = bool(client.scheduler_info(n_workers=-1)["workers"])
                if before and not now:
                    print("no worker is left; waiting for another", file=sys.stderr, flush=True)
                before = now

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _result(future: Any, more: int = FETCHES) -> Any:
    """What a call gave, asked for again where a busy machine did not get the connection in time.

    Raises what the call raised, and SimcvdError where its result cannot be had.
    """
    try:
        return future.result()
    except (CancelledError, OSError) as error:
        if future.status == "error":
            raise  # the call's own
        if future.status == "cancelled" or not more:
            why = "lost" if future.status == "cancelled" else error  # Dask's words are a paragraph
            raise _gone(why) from error
        return _result(future, more - 1)


def _gone(why: object) -> SimcvdError:
    return SimcvdError(f"the Dask scheduler is gone ({why}). {AGAIN}")


@contextmanager
def connected(workers: str, reads: Sequence[Path], writes: Path | None) -> Iterator[Cluster]:
    """The cluster that ``workers`` names, with a first worker there and each one looked at.

    workers: the address of a scheduler, or ``slurm:FILE``, a TOML file with ``jobs``, how many
    are queued, and the arguments of `dask_jobqueue.SLURMCluster`. Raises SimcvdError as
    `simcvd.workers.processes.on_workers`.
    """
    optional("distributed", "dask", "work on a cluster")
    with ExitStack() as stack:
        address: Any = workers
        refused: list[str] = []
        if workers.startswith(SLURM):
            address = stack.enter_context(_slurm(Path(workers.removeprefix(SLURM)), refused))
        client = stack.enter_context(_client(workers, address))
        paths = [(os.path.abspath(path), str(path)) for path in reads]
        paths += [(stack.enter_context(_mark(writes)), str(writes))] if writes else []
        cluster = Cluster(client, (simcvd.__version__, tuple(paths)))
        try:
            _first_worker(client, workers, refused)
            _refuse_strangers(cluster)
        except OSError as error:
            raise _gone(error) from error
        yield cluster


@contextmanager
def _client(workers: str, address: Any) -> Iterator[Any]:
    from distributed import Client

    try:
        if isinstance(address, str):
            _knock(address)
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:  # whatever a transport makes of an address
        raise SimcvdError(
            f"no Dask scheduler answers at {workers} ({error}). Nothing was started and nothing "
            "is lost; start one (dask scheduler), check the address, and re-run the command"
        ) from error
    with _without_pages("distributed.client"), client:  # of a scheduler that goes away: `_result`
        yield client


@contextmanager
def _without_pages(logger: str) -> Iterator[None]:
    """What is said here in a sentence is not logged as a traceback, too."""
    pages = logging.getLogger(logger)
    pages.disabled = True
    try:
        yield
    finally:
        pages.disabled = False


def _knock(address: str) -> None:
    """Connect once. Of most addresses that are none, a Client is left that nothing closes."""
    from distributed import Security
    from distributed.comm.core import connect

    async def knock() -> None:
        known = Security().get_connection_args("client")
        (await connect(address, timeout=CONNECT_SECONDS, **known)).abort()

    with ThreadPoolExecutor(1) as thread:  # in the caller's own a loop may run, as a notebook's
        thread.submit(asyncio.run, knock()).result()


@contextmanager
def _slurm(path: Path, refused: list[str]) -> Iterator[Any]:
    """A cluster of Slurm's jobs; what it said to those that it did not take is put in `refused`."""
    interrupt = signal.getsignal(signal.SIGINT)
    optional("dask_jobqueue", "dask", SLURM)
    if signal.getsignal(signal.SIGINT) is not interrupt:  # its import makes Ctrl-C an exit with 0
        signal.signal(signal.SIGINT, interrupt)
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob
    from distributed import Status

    class Job(SLURMJob):
        async def start(self) -> None:
            try:
                await super().start()  # type: ignore[no-untyped-call]
            except (OSError, RuntimeError) as error:
                refused.append(str(error).strip())
                self.status = Status.failed  # or the cluster cannot be closed
                raise

    try:
        options = parse_toml(path.read_text(encoding=UTF8))
    except (OSError, ValueError) as error:
        raise SimcvdError(
            f"{SLURM}{path}: cannot be read ({error}); give a TOML file of jobs = N and the "
            "arguments of dask_jobqueue.SLURMCluster, such as cores, memory and queue"
        ) from error
    jobs = options.pop("jobs", 1)
    if type(jobs) is not int or jobs < 1:
        raise SimcvdError(f"{SLURM}{path}: jobs = {jobs!r}; give how many are queued, 1 or more")
    # Workers print and keep files where the command was typed, and run the same Python.
    options = {"python": sys.executable, **options}
    try:
        cluster = SLURMCluster(job_cls=Job, **options)  # type: ignore[arg-type]
    except Exception as error:  # whatever the arguments of the file lead to
        raise SimcvdError(f"{SLURM}{path}: SLURMCluster rejects it: {error}") from error
    with _without_pages("tornado.application"), cluster:
        # A job that ends at its time limit is queued again; else nobody does the rest of the work.
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
        yield cluster


@contextmanager
def _mark(folder: Path) -> Iterator[str]:
    """A file in the folder, made if need be, by which a worker knows that it sees the same one."""
    mark = folder.absolute() / f".{os.getpid()}@{HOST}-{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        raise CannotWrite(complaint(folder, error)) from error
    try:
        yield str(mark)
    finally:
        mark.unlink(missing_ok=True)


def _first_worker(client: Any, workers: str, refused: Sequence[str]) -> None:
    if client.scheduler_info(n_workers=-1)["workers"]:
        return
    print(f"{workers}: no worker yet; waiting for the first", file=sys.stderr, flush=True)
    while not refused:
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=WAIT_SECONDS)
            return
    raise SimcvdError(f"{workers}: Slurm refuses the job. {refused[0]}")


def _refuse_strangers(cluster: Cluster) -> None:
    """Look at each worker once before the work; those that come later look when they get some."""
    found: Mapping[str, Any] = cluster.client.run(_look(), cluster.needs, on_error="return")
    if wrong := [f"{at}: {problem}" for at, problem in found.items() if problem]:
        raise SimcvdError(
            "workers of the cluster cannot do this:\n  "
            + "\n  ".join(wrong)
            + "\nNothing was started. Start them with this version of simcvd, where the same "
            "folders are mounted under the same names"
        )


def _look() -> Callable[[Needs], str]:
    """The function by which a worker looks at itself: what is wrong with it, or "".

    Dask sends it as code and not as a name: a worker without simcvd runs it, too.
    """

    def look(needs: Needs) -> str:
        import os.path

        version, paths = needs
        try:
            from simcvd import __version__ as own
        except ImportError:
            return "has no simcvd"
        if own != version:
            return f"has simcvd {own}, and this is {version}"
        unseen = [shown for path, shown in paths if not os.path.exists(path)]
        return f"does not see {unseen[0]}" if unseen else ""

    return look


def _pickled(content: Any) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, given: Any) -> Any:
            if isinstance(given, PurePath):
                return type(given), (os.path.abspath(given),)
            return super().reducer_override(given)

    buffer = io.BytesIO()
    Pickler(buffer).dump(content)
    return buffer.getvalue()


@functools.cache
def _problem(needs: Needs) -> str:
    return _look()(needs)


def _call(needs: Needs, call: bytes) -> Any:
    """On a worker: the function on its item, unless the worker came late and is none of ours."""
    if problem := _problem(needs):
        raise SimcvdError(f"a worker on {socket.gethostname()} {problem}. {AGAIN}, without it")
    return as_command(*pickle.loads(call))


def as_command(function: Callable[[Any], Any], item: Any) -> Any:
    """The function on its item, in a process that does nothing else: see `is_command`."""
    is_command()
    return function(item)
