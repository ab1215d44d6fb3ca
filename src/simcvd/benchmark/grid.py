"""Methods x numbers of labels x seeds under one protocol: what is missing, and running it.

State is read from what lies on disk, so a grid may be stopped at any moment and started again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import median

from lightning_fabric import Fabric

from simcvd.benchmark.check import check
from simcvd.benchmark.protocols import OPENED, Opened, Protocol
from simcvd.benchmark.results import PROTOCOL
from simcvd.benchmark.units import State, Unit, make_units, seconds_of, state, steps_done
from simcvd.benchmark.worker import work
from simcvd.checking.audit import audit, refuse_fatal
from simcvd.checking.findings import Finding
from simcvd.data.cache import Cache
from simcvd.experiments import Row
from simcvd.files import contents, write_json
from simcvd.records import as_json
from simcvd.torch_state import left_as_found
from simcvd.training.apart import Call, Ended, execute_all
from simcvd.training.loop import Trainer
from simcvd.training.recipes import find_recipe
from simcvd.training.run import resolve
from simcvd.training.settings import differences
from simcvd.types import SimcvdError

TIMED_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All trainings of a benchmark. findings: the leak audit's sentences."""

    cache: Cache
    protocol: Protocol
    results: Path
    units: tuple[Unit, ...]
    findings: tuple[str, ...]

    def states(self) -> dict[str, State]:
        """How far each run is, by its name."""
        return {unit.name: state(unit, self.cache) for unit in self.units}

    def missing(self) -> list[Unit]:
        """The runs that are not trained and scored yet."""
        return [unit for unit in self.units if state(unit, self.cache) != "done"]

    def run(self, *, jobs: int = 1) -> Iterator[Ended]:
        """Do what is missing; gives back each run as it ends. See `execute_all`."""
        root = self.cache.root
        for wave in waves(self.missing()):
            calls = [
                Call(name=unit.name, do=partial(work, unit, root), log=unit.beside(".log"))
                for unit in wave
            ]
            yield from execute_all(calls, jobs=jobs)


def waves(units: Sequence[Unit]) -> list[list[Unit]]:
    """Runs that need none of the others, then those that need these, and so on.

    Side by side with what it needs a run would only wait.
    """

    def depth(unit: Unit) -> int:
        return max((1 + depth(needed) for needed in unit.needed), default=0)

    ordered = sorted(units, key=depth)
    return [list(wave) for _, wave in groupby(ordered, depth)]


def plan_grid(
    root: Path,
    protocol: Protocol,
    rows: Sequence[Row],
    results: Path,
    *,
    labeled: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    patient: str | None = None,
) -> Grid:
    """Hold the data against the protocol and settle every run, writing nothing.

    root: the cache. results: the grid's folder, there or not. labeled, seeds: the protocol's by
    default. patient: the pattern of names that the leak audit takes. Raises SimcvdError for data
    that are not the protocol's, a test scan in the training list, settings that do not exist, or a
    folder of other results, and for a pattern that is none or matches no name.
    """
    cache = Cache(root.resolve())
    findings = audit(cache, patient)
    refuse_fatal(findings)
    check(protocol, cache, findings)
    _check_folder(results, protocol, cache)
    units = make_units(cache, protocol, rows, results.resolve(), labeled=labeled, seeds=seeds)
    texts = _sentences(findings, patient)
    return Grid(cache=cache, protocol=protocol, results=results, units=tuple(units), findings=texts)


def open_results(grid: Grid) -> None:
    """Make the folder of the grid's results, with the protocol that all in it were made under."""
    opened = _opened(grid.protocol, grid.cache, grid.findings)
    write_json(grid.results / PROTOCOL, OPENED.content(opened))


def seconds_left(grid: Grid, missing: Sequence[Unit]) -> dict[str, float]:
    """Seconds that each missing run will take, trained and scored, on this machine alone.

    From the times of the runs that are done and, while there are none, from a few steps of the
    supervised method, timed here; a method's cost relative to it is counted (`Row.cost`) until a
    run of its own has been timed. Scoring counts only once a run has been scored.
    """
    timed = [(unit.row, t) for unit in grid.units if (t := seconds_of(unit)) is not None]
    if timed:
        per_cost = median(seconds / row.cost for row, seconds in timed)
    else:
        per_cost = _step_seconds(grid) * grid.protocol.iterations
    own = {row.id: median(t for other, t in timed if other.id == row.id) for row, _ in timed}
    return {
        unit.name: own.get(unit.row.id, unit.row.cost * per_cost)
        * (1 - steps_done(unit)[0] / unit.protocol.iterations)
        for unit in missing
    }


def read_findings(results: Path) -> list[str]:
    """The leak audit's sentences as the grid wrote them; none where no grid did."""
    path = results / PROTOCOL
    return list(OPENED.load(path).findings) if path.exists() else []


def _sentences(findings: Sequence[Finding], patient: str | None) -> tuple[str, ...]:
    """What stands above the tables: every finding, and what was not looked at."""
    texts = [finding.message for finding in findings]
    if not texts:
        patients = "no patient in both lists, " if patient else ""
        texts.append(f"no scan twice, {patients}none cropped by its label")
    if not patient:
        texts.append("patients in both lists were not looked for, as no name pattern was given")
    return tuple(f"Leak audit: {text}." for text in texts)


@left_as_found()
def _step_seconds(grid: Grid) -> float:
    """Of a step of the supervised method under the protocol, after one to warm up."""
    unit = grid.units[0]
    run = resolve(
        grid.cache,
        method="supervised",
        labeled=unit.labeled,
        settings=(*grid.protocol.settings(), f"train.seed={unit.seed}"),
        recipe=find_recipe(grid.protocol.recipe),
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(Fabric(devices=1), run, grid.cache, Path(scratch))
        times = []
        for _ in range(TIMED_STEPS + 1):
            start = time.perf_counter()
            float(trainer.train_step()["loss"])  # waits for a GPU
            times.append(time.perf_counter() - start)
    return median(times[1:])


def _opened(protocol: Protocol, cache: Cache, findings: tuple[str, ...] = ()) -> Opened:
    return Opened(
        protocol=protocol.record(),
        hash=protocol.hash(),
        data=cache.manifest.data_hash,
        findings=findings,
    )


def _check_folder(results: Path, protocol: Protocol, cache: Cache) -> None:
    path = results / PROTOCOL
    if path.exists():
        old = replace(OPENED.load(path), findings=())
        if changed := differences(as_json(old), as_json(_opened(protocol, cache))):
            raise SimcvdError(
                f"{results} holds results of another protocol or of other data:\n  "
                + "\n  ".join(changed)
                + "\nGive another folder for these results"
            )
    elif contents(results):
        raise SimcvdError(f"{results} is not empty and holds no benchmark; give another folder")
