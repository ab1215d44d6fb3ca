"""One training of a grid, and where it lies.

::

    RESULTS/protocol.json          the protocol and the data's hash
    RESULTS/runs/NAME/             the run, as `simcvd train` and `simcvd evaluate` write it
    RESULTS/runs/NAME.json         what was asked for, under which protocol; times and machine
    RESULTS/runs/NAME.log          what the run printed
    RESULTS/runs/NAME.lock         held while a process works on the run

NAME is row-labels-seedN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from simcvd.benchmark.protocols import Protocol
from simcvd.benchmark.results import is_tapered
from simcvd.data.cache import Cache
from simcvd.experiments import Row, paper_numbers
from simcvd.files import read_object, write_json
from simcvd.methods.registry import find
from simcvd.scoring.record import NoReport, NotScored, read_report, scores_folder
from simcvd.training.log import read_log
from simcvd.training.recipes import find_recipe
from simcvd.training.run import CONTROL, base_seed, completed, resolve
from simcvd.training.settings import differences
from simcvd.types import SimcvdError

FORMAT = 1
State = Literal["done", "started", "missing"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One training and its scores. settings: the protocol's, then the row's own.

    bases: the trainings whose weights it starts from. parts: those whose weights it is the mean of.
    """

    row: Row
    labeled: int
    seed: int
    protocol: Protocol
    results: Path
    bases: tuple[Unit, ...] = ()
    parts: tuple[Unit, ...] = ()

    @property
    def needed(self) -> tuple[Unit, ...]:
        """The trainings that must be done before it."""
        return (*self.bases, *self.parts)

    @property
    def name(self) -> str:
        """The same for the same row, labels and seed."""
        return f"{self.row.id}-{self.labeled}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.results / "runs" / self.name

    @property
    def settings(self) -> tuple[str, ...]:
        """For ``train --set``."""
        own = self.row.settings_for(self.labeled)
        return (*self.protocol.settings(), f"train.seed={self.seed}", *own)

    def beside(self, suffix: str) -> Path:
        """``NAME.json`` and its like beside the folder; a row's name may hold dots."""
        return self.folder.with_name(self.name + suffix)

    @property
    def scores(self) -> Path:
        """The folder its scores are written into."""
        return scores_folder(self.folder, self.protocol.split_scored)

    def record(self, cache: Cache) -> dict[str, Any]:
        """What is asked for, as JSON."""
        return {
            "format": FORMAT,
            "name": self.name,
            "row": self.row.id,
            "method": self.row.method,
            "labeled": self.labeled,
            "seed": self.seed,
            "settings": list(self.settings),
            "protocol": self.protocol.record(),
            "protocol_hash": self.protocol.hash(),
            "data": cache.manifest.data_hash,
        }


def make_units(
    cache: Cache,
    protocol: Protocol,
    rows: Sequence[Row],
    results: Path,
    *,
    labeled: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Unit]:
    """The trainings of a grid: by labels, then seed, then row, so that comparisons come early.

    labeled, seeds: the protocol's by default. The fully labelled control of the paper's tables is
    added by default where the numbers are comparable. A method that needs unlabelled scans has
    no training where none are left.
    """
    everything = len(cache.train)
    counts = list(labeled or protocol.labeled)
    if labeled is None and protocol.comparable:
        counts += [n for n in (everything,) if n not in counts]
    units = [
        unit
        for count in counts
        for unit in _of_count(
            protocol,
            [
                row
                for row in rows
                if count < everything or _wanted_with_all(row, everything, protocol, labeled)
            ],
            *(results, count, seeds or protocol.seeds),
        )
    ]
    for unit in units:
        resolve_unit(unit, cache)  # unknown settings, too many labels: refused before any run
    return units


def _of_count(
    protocol: Protocol, rows: Sequence[Row], results: Path, labeled: int, seeds: Sequence[int]
) -> list[Unit]:
    """The trainings of one number of labelled scans, each after those that it needs."""

    made = partial(Unit, labeled=labeled, protocol=protocol, results=results)

    def bases(row: Row, seed: int) -> tuple[Unit, ...]:
        count = find(row.method).bases if protocol.base else 0
        seeds = [base_seed(seed, number) for number in range(count)]
        return tuple(made(row=base_row(protocol), seed=seed) for seed in seeds)

    trained: list[Unit] = []
    for seed in seeds:
        for row in rows:
            parts = [made(row=part, seed=seed, bases=bases(part, seed)) for part in row.mean_of]
            own = () if parts else bases(row, seed)
            trained += [*parts, made(row=row, seed=seed, bases=own, parts=tuple(parts))]
    first = [base for unit in trained for base in unit.bases]
    return list({unit.name: unit for unit in (*first, *trained)}.values())


def base_row(protocol: Protocol) -> Row:
    """The supervised training that others start from."""
    settings = (f"train.iterations={protocol.base}", "train.base=0")
    return Row(id="base", title="Base", method=CONTROL, settings=settings)


def resolve_unit(unit: Unit, cache: Cache) -> dict[str, Any]:
    """Every setting of the run, as its config.json will hold it, but for version numbers."""
    run = resolve(
        cache,
        method=unit.row.method,
        labeled=unit.labeled,
        settings=unit.settings,
        recipe=find_recipe(unit.protocol.recipe),
    )
    return _asked(run.record())


def state(unit: Unit, cache: Cache) -> State:
    """How far a run is. Raises SimcvdError if its place holds a run of other settings."""
    record, path = unit.record(cache), unit.beside(".json")
    old = read_object(path, "Move it and the run away.") if path.exists() else None
    if old is None:
        if unit.folder.exists():
            raise SimcvdError(
                f"{unit.folder} was not made by a benchmark: {path.name} is "
                "missing. Move it away, or give another folder for the results"
            )
        return "missing"
    if changed := differences({key: old.get(key) for key in record}, record):
        raise SimcvdError(_conflict(unit, changed))
    # The times are written last: without them a run that was killed is told like any other.
    return "done" if "seconds" in old and _scored(unit, cache) else "started"


def write_record(unit: Unit, cache: Cache, **more: Any) -> None:
    """Write ``NAME.json``; ``more``: what is known once the run is over."""
    unit.folder.parent.mkdir(parents=True, exist_ok=True)
    write_json(unit.beside(".json"), {**unit.record(cache), **more})


def seconds_of(unit: Unit) -> float | None:
    """Seconds that training and scoring took, once the run is over."""
    try:
        record = read_object(unit.beside(".json"), "")
        return float(sum(record["seconds"].values()))
    except (SimcvdError, KeyError, TypeError, AttributeError):
        return None


def steps_done(unit: Unit) -> tuple[int, float]:
    """Iterations that were logged and the seconds they took."""
    rows = read_log(unit.folder)
    return (int(rows[-1]["step"]), rows[-1]["seconds"]) if rows else (0, 0.0)


def _wanted_with_all(
    row: Row, everything: int, protocol: Protocol, asked: Sequence[int] | None
) -> bool:
    """Whether a row is trained with every scan labelled: on demand, or as the paper did."""
    if find(row.method).uses_unlabeled:
        return False
    return asked is not None or paper_numbers(protocol.paper, row.id, everything) is not None


def _scored(unit: Unit, cache: Cache) -> bool:
    """Whether there are scores, of this very run."""
    try:
        info = read_report(unit.scores).info
        found = _asked(info["config"]["run"])
        stride, tapered, data = info["stride"], is_tapered(info), info["config"]["data"]
    except (NotScored, NoReport, KeyError, TypeError, AttributeError):
        return False
    if data != cache.manifest.data_hash or tapered or list(unit.protocol.stride) != stride:
        return False
    if changed := differences(found, resolve_unit(unit, cache)):
        raise SimcvdError(_conflict(unit, changed))
    return True


def _asked(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run's record without the weights it began with, which are known once these are trained."""
    return {name: value for name, value in completed(run).items() if name != "init"}


def _conflict(unit: Unit, changed: list[str]) -> str:
    return (
        f"{unit.folder} holds a run of other settings:\n  "
        + "\n  ".join(changed)
        + "\nMove it away, or give another folder for the results"
    )
