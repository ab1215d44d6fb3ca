"""The scored runs below a folder, as records; what is missing or does not belong there is said.

A run's folder ``NAME`` holds ``config.json`` and ``metrics.json``. Under what protocol and for
which row it was made stands beside it in ``NAME.json``, as `simcvd.benchmark.units` writes it, or
in its own ``protocol.json``, ``{"name", "hash", "settings"}`` and perhaps ``"row"``; a run without
either has no protocol. Runs that were not measured alike never come into one table: see
:mod:`simcvd.benchmark.alike`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.benchmark.archive import unpacked
from simcvd.benchmark.protocols import hash_of
from simcvd.files import read_object
from simcvd.scoring.record import (
    FILE,
    NoReport,
    NotScored,
    Report,
    Split,
    read_report,
    scores_folder,
)
from simcvd.scoring.scores import ABSENT, METRICS
from simcvd.training.settings import differences
from simcvd.types import SimcvdError
from simcvd.wording import few

TABLES = "tables"  # the folder that what is made of the results goes into
CONFIG, SCORES, PROTOCOL = "config.json", FILE, "protocol.json"
OF_A_RUN = {
    *(CONFIG, SCORES, PROTOCOL, "metrics.csv", "metrics.md", "log.jsonl", "log.csv"),
    *("model.safetensors", "model.json", "checkpoints", "predictions", "holdout", "tensorboard"),
}
BESIDE = (".json", ".log", ".lock")
PLANNED = re.compile(r".+-\d+-seed\d+\.(json|log|lock)")  # of a run that may not have begun


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One scored training.

    row: the system's name in folders, the method's where none was recorded. labeled: how many
    scans were. values: metric -> ``[cases, classes]`` as fractions, voxels or mm, NaN where
    undefined. missed: classes of cases found by prediction or reference alone.
    conditions: all that must be the same before two results are compared: the protocol's record,
    the data's hash, how it was scored. settings: the run's own record without
    its seed and the weights that follow from it. starts: SHA-256 of the weights it began with.
    """

    row: str
    method: str
    labeled: int
    seed: int
    cases: tuple[str, ...]
    classes: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    missed: int
    conditions: Mapping[str, Any]
    settings: Mapping[str, Any]
    starts: frozenset[str]
    folder: Path

    @property
    def protocol(self) -> Mapping[str, Any] | None:
        """The protocol's name, hash and settings, if the run was made under one."""
        return self.conditions["protocol"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """results: by row, labels and seed. missing, foreign: sentences for the reader of a table."""

    results: tuple[RunResult, ...]
    missing: tuple[str, ...]
    foreign: tuple[str, ...]


class _Missing(SimcvdError):
    """A run without one of its files."""


class _Foreign(SimcvdError):
    """A file that is not what its name says."""


def read_results(root: Path, *, split: Split = "test") -> Reading:
    """Read every run below ``root``, at any depth, and those in its archive.

    A run that is not finished or not scored is listed as missing; files that no run writes, and
    folders with results of anything else, as foreign; neither stops the reading. Files in
    ``root`` itself and in its ``tables`` are the caller's. Raises SimcvdError where ``root`` is no
    folder, and for a run that was trained on a scan it was scored on.
    """
    if not root.is_dir():
        raise SimcvdError(f"{root} is not a folder; give the one that the runs lie in")
    with unpacked(root) as kept:
        readings = [_read_below(root, split), _as_if_in(root, kept, _read_below(kept, split))]
    results = sorted(
        (result for reading in readings for result in reading.results),
        key=lambda r: (r.row, r.labeled, r.seed, r.folder.as_posix()),
    )
    return Reading(
        results=tuple(results),
        missing=tuple(text for reading in readings for text in reading.missing),
        foreign=tuple(text for reading in readings for text in reading.foreign),
    )


def _read_below(root: Path, split: Split) -> Reading:
    results, missing, foreign = [], [], []
    folders, strays = _runs(root)
    foreign += [f"{path} belongs to no run" for path in strays]
    for folder in folders:
        foreign += [f"{folder / name} is not a file of a run" for name in _unknown(folder)]
        try:
            results.append(read_result(folder, split=split))
        except _Missing as error:
            missing.append(str(error))
        except _Foreign as error:
            foreign.append(str(error))
    return Reading(results=tuple(results), missing=tuple(missing), foreign=tuple(foreign))


def _as_if_in(root: Path, kept: Path, reading: Reading) -> Reading:
    """What was read in an archive's temporary folder, under the names it was packed by."""
    here, there = str(kept), str(root)
    return Reading(
        results=tuple(
            replace(result, folder=root / result.folder.relative_to(kept))
            for result in reading.results
        ),
        missing=tuple(text.replace(here, there) for text in reading.missing),
        foreign=tuple(text.replace(here, there) for text in reading.foreign),
    )


def read_result(run: Path, *, split: Split = "test") -> RunResult:
    """Read one run. Raises SimcvdError for a missing or foreign file, and for a leak."""
    config = _json(run / CONFIG, "the run was not begun, or its record is lost")
    command = f"simcvd evaluate {run}" + (f" --split {split}" if split != "test" else "")
    try:
        report = read_report(scores_folder(run, split))
    except NotScored as error:
        raise _Missing(f"{error}: not scored; run: {command}") from None
    except NoReport as error:
        raise _Foreign(str(error)) from None
    try:
        return _result(run, config, report, _protocol(run), split)
    except (KeyError, TypeError, AttributeError, NoReport) as error:
        raise _Foreign(
            f"{run}: its files are not those of a scored run ({type(error).__name__}: {error}); "
            f"score it again: simcvd evaluate {run}"
        ) from error


def _runs(root: Path) -> tuple[list[Path], list[Path]]:
    """Folders of runs, and files that lie outside of them; a run is not looked into for others."""
    runs, strays = [], []
    for place, folders, files in os.walk(root):
        folder = Path(place)
        ours = [TABLES] if folder == root else []
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n not in ours)
        if {CONFIG, SCORES} & set(files):
            runs.append(folder)
            folders.clear()
        elif folder != root:
            strays += [folder / name for name in sorted(files) if not _beside(name, folders)]
    return sorted(runs), sorted(strays)


def _beside(name: str, folders: Sequence[str]) -> bool:
    """Whether a file is hidden, or stands beside a run and is named after it."""
    if name.startswith(".") or PLANNED.fullmatch(name):
        return True
    return any(name == folder + suffix for folder in folders for suffix in BESIDE)


def _unknown(run: Path) -> list[str]:
    names = sorted(path.name for path in run.iterdir() if not path.name.startswith("."))
    return [name for name in names if name not in OF_A_RUN]


def _json(path: Path, why_missing: str) -> dict[str, Any]:
    if not path.exists():
        raise _Missing(f"{path} is missing: {why_missing}")
    try:
        return read_object(path, "Remove it and score the run again.")
    except SimcvdError as error:
        raise _Foreign(str(error)) from None


def _protocol(run: Path) -> dict[str, Any] | None:
    """The protocol's record, refused where it is not the one that its hash was made of."""
    inside, beside = run / PROTOCOL, run.with_name(f"{run.name}.json")
    if beside.exists():
        path, grid = beside, _json(beside, "")
        settings, digest = grid.get("protocol"), grid.get("protocol_hash")
        record = {"row": grid.get("row"), "name": (settings or {}).get("name")}
    elif inside.exists():
        path, record = inside, _json(inside, "")
        settings, digest = record.get("settings"), record.get("hash")
    else:
        return None
    if not isinstance(settings, dict) or digest != hash_of(settings):
        raise _Foreign(
            f"{path}: the hash {digest} is not that of its settings; it was edited or is of "
            "another program. Run this row again"
        )
    return {**record, "hash": digest, "settings": settings}


def _result(
    run: Path,
    config: dict[str, Any],
    report: Report,
    protocol: dict[str, Any] | None,
    split: Split,
) -> RunResult:
    info, record = report.info, config["run"]
    if changed := differences(info["config"]["run"], record):
        raise _Foreign(f"{run}: its scores are of another run: {few(changed)}; score it again")
    values = {metric: report.table(metric) for metric in METRICS}
    _check_leak(run, report.cases, record, split)
    scoring = {name: info[name] for name in ("split", "stride", "grid", "spacing_mm")}
    scoring["tapered"] = is_tapered(info)
    _check_scoring(run, scoring, split, protocol)
    starts = frozenset(filter(None, record.get("init", "").split("+")))
    # The weights it starts from are another training's of the same seed; that there are any counts.
    begun = {"init": bool(starts), "train": {**record["train"], "seed": None}}
    settings = {**record, **begun}
    return RunResult(
        row=(protocol or {}).get("row") or record["method"],
        method=record["method"],
        labeled=len(record["labeled"]),
        seed=record["train"]["seed"],
        cases=report.cases,
        classes=report.classes,
        values=values,
        missed=sum(score.miss not in ("", ABSENT) for score in report.scores),
        conditions={"protocol": _named(protocol), "data": config["data"], "scoring": scoring},
        settings=settings,
        starts=starts,
        folder=run,
    )


def _named(protocol: dict[str, Any] | None) -> dict[str, Any] | None:
    """Without the row, which is to differ."""
    return protocol and {key: protocol[key] for key in ("name", "hash", "settings")}


def _check_leak(run: Path, cases: Iterable[str], record: Mapping[str, Any], split: str) -> None:
    trained = {*record["labeled"], *record["unlabeled"]}
    if split == "test":  # what was held out is of the training list too
        trained |= set(record["holdout"])
    if leaked := sorted(trained & set(cases)):
        raise SimcvdError(
            f"{run}: scored on scans of its own training list: {few(leaked)}. Its numbers mean "
            "nothing; take these scans out of train.list, prepare again and train again"
        )


def is_tapered(info: Mapping[str, Any]) -> bool:
    """Whether a score's windows were; of one that does not say so only --fast's were."""
    return bool(info.get("tapered", info.get("fast", False)))


def _check_scoring(
    run: Path, scoring: Mapping[str, Any], split: Split, protocol: Mapping[str, Any] | None
) -> None:
    """Scores must be of the split they are read as, and of the protocol's windows."""
    wanted: dict[str, Any] = {"split": split}
    if protocol and "stride" in protocol["settings"]:
        wanted |= {"stride": protocol["settings"]["stride"], "tapered": False}
    if wrong := [f"{k} {scoring[k]}, not {v}" for k, v in wanted.items() if scoring[k] != v]:
        raise _Foreign(f"{run}: scored with {few(wrong)}; remove its scores and score it again")
