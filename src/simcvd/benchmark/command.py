"""What `simcvd benchmark` does, and what it says on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from simcvd.benchmark.catalogue import PROTOCOLS, find_protocol
from simcvd.benchmark.fit import Fit, fit
from simcvd.benchmark.grid import Grid, open_results, plan_grid, seconds_left
from simcvd.benchmark.protocols import Protocol, changed
from simcvd.benchmark.results import TABLES
from simcvd.benchmark.units import Unit
from simcvd.benchmark.write import write_tables
from simcvd.data.cache import Cache
from simcvd.experiments import listing as rows_listing
from simcvd.experiments import select
from simcvd.machine import free_memory
from simcvd.planning.memory import free_bytes
from simcvd.training.apart import Ended
from simcvd.training.settings import override
from simcvd.types import SimcvdError
from simcvd.wording import by, counted, duration
from simcvd.workers.processes import on_workers, processes_of

Mode = Literal["run", "dry", "tables"]


def benchmark(
    cache: Path | None,
    out: Path | None,
    *,
    protocol: str,
    changes: Sequence[str] = (),
    wanted: Sequence[str] = ("methods",),
    labeled: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    workers: str | int | None = None,
    patient: str | None = None,
    mode: Mode = "run",
    figure: bool = False,
) -> None:
    """List what is missing, run it, write the tables; see the command's options.

    mode: "dry" stops after the list; "tables" needs no cache and runs nothing. figure: draw scans
    by every row, too, for which a cache is needed. Raises SimcvdError for anything that cannot be
    asked for, of a cluster too, and, after the tables, if runs failed.
    """
    rows = select(wanted)  # an unknown row is refused first
    chosen = _protocol(protocol, changes)
    if out is None or (cache is None and mode != "tables"):
        raise SimcvdError("give a cache and --out for the results; --list shows what can be run")
    if patient and mode == "tables":
        raise SimcvdError(
            "--patient-pattern is for the leak audit of the scans, and --only-tables reads none; "
            "give it when the benchmark is run or listed with --dry-run"
        )
    if figure and cache is None:
        raise SimcvdError("--figure shows scans, which lie in the cache; give it, too")
    failed: list[Ended] = []
    if cache is not None and mode != "tables":
        grid = plan_grid(cache, chosen, rows, out, labeled=labeled, seeds=seeds, patient=patient)
        missing = grid.missing()
        jobs = processes_of(workers) or 1
        here = Fit(jobs) if jobs == 1 else _fit(grid, jobs)
        print(_plan(grid, missing, here), flush=True)
        if mode == "dry":
            return
        open_results(grid)
        if missing:  # a cluster is not asked for tables
            with on_workers(workers, reads=[cache], writes=out):
                failed = _run(grid, len(missing), here.jobs)
    try:
        scans = Cache(cache) if cache and figure else None
        print(write_tables(out, wanted, split=chosen.split_scored, labeled=labeled, scans=scans))
        print(f"tables: {out / TABLES}")
    finally:
        _refuse_failed(failed)


def listing() -> str:
    """Protocols, methods, and the rows of all five tables."""
    protocols = [f"  {name:<22}{_brief(p)}" for name, p in PROTOCOLS.items()]
    return "\n".join(["Protocols:", *protocols, "", rows_listing()])


def _protocol(name: str, changes: Sequence[str]) -> Protocol:
    base = find_protocol(name)
    other = override({"protocol": base}, [f"protocol.{change}" for change in changes])["protocol"]
    fields = [change.partition("=")[0].strip() for change in changes]
    return changed(base, **{field: getattr(other, field) for field in fields})


def _brief(protocol: Protocol) -> str:
    patch = by(protocol.patch)
    labels = ", ".join(map(str, protocol.labeled))
    return f"{protocol.iterations} iterations, patch {patch}, {labels} labelled; {protocol.hash()}"


def _fit(grid: Grid, jobs: int) -> Fit:
    # Only where several are asked for: to ask a GPU is to hold a part of it from then on.
    gpus = torch.cuda.device_count()
    free = min((free_memory(f"cuda:{i}") for i in range(gpus)), default=free_bytes())
    return fit(jobs, grid.protocol, grid.cache, free, gpus=gpus)


def _plan(grid: Grid, missing: Sequence[Unit], here: Fit) -> str:
    """What is done, and each missing run with its time."""
    states = grid.states()
    done = sum(s == "done" for s in states.values())
    lines = [
        f"protocol {grid.protocol.name}, hash {grid.protocol.hash()}: "
        f"{done} of {len(grid.units)} runs done",
        *grid.findings,
    ]
    if not missing:
        return "\n".join(lines)
    seconds = seconds_left(grid, missing)
    width = max(len(unit.name) for unit in missing)
    lines += [
        f"  {u.name:<{width}}  {states[u.name]:<9}{duration(seconds[u.name])}" for u in missing
    ]
    total = sum(seconds.values())
    lines.append(
        f"{counted(len(missing), 'run')}, about {duration(total)} one after another on this machine"
    )
    if (jobs := here.jobs) > 1:
        lines.append(f"{jobs} side by side: between {duration(total / jobs)} and that")
    if here.note:
        lines.append(here.note)
    return "\n".join(lines)


def _run(grid: Grid, total: int, jobs: int) -> list[Ended]:
    """Run what is missing; gives back the failures."""
    failed = []
    for number, ended in enumerate(grid.run(jobs=jobs), start=1):
        state = f"failed: it {ended.problem}" if ended.problem else "done"
        print(f"[{number}/{total}] {ended.name} {state}", flush=True)
        if ended.problem:
            failed.append(ended)
    return failed


def _refuse_failed(failed: Sequence[Ended]) -> None:
    if failed:
        raise SimcvdError(
            f"{counted(len(failed), 'run')} failed: {', '.join(ended.name for ended in failed)}. "
            "The others are kept; fix the cause shown above and re-run the same command"
        )
