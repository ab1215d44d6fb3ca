"""The report of a scoring: ``metrics.json`` and its two siblings, their one writer and reader."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simcvd.escape import csv_text, markdown
from simcvd.files import read_object, write_text
from simcvd.naming import check_all
from simcvd.records import Kind, as_json
from simcvd.scoring.scores import (
    ABSENT,
    LEVEL,
    METRICS,
    RESAMPLES,
    Mean,
    Score,
    Summary,
    summarise,
    tabulated,
)
from simcvd.scoring.titles import PERCENT, convention, metric_title, scale
from simcvd.types import SimcvdError
from simcvd.wording import counted, few

Split = Literal["test", "holdout"]
FILE = "metrics.json"


class NotScored(SimcvdError):
    """A folder without scores."""


class NoReport(SimcvdError):
    """A ``metrics.json`` that is none of this program's."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores, and what a reader must know of them.

    notes: sentences that stand above the tables. info: what was scored, written to the JSON.
    """

    scores: Sequence[Score]
    notes: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the scans, in the alphabet's order."""
        return tuple(sorted({score.case for score in self.scores}))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by their labels."""
        return tuple(name for _, name in sorted({(s.label, s.name) for s in self.scores}))

    def table(self, metric: str) -> np.ndarray:
        """One metric as ``[cases, classes]``, NaN where it is undefined.

        Raises NoReport where a scan lacks a class, or has it twice.
        """
        scores = sorted(self.scores, key=lambda score: (score.case, score.label, score.name))
        places = {(score.case, score.label, score.name) for score in scores}
        cases, classes = self.cases, self.classes
        if not len(places) == len(scores) == len(cases) * len(classes):
            raise NoReport(f"{len(scores)} scores of {len(cases)} scans and {len(classes)} classes")
        return tabulated(metric, scores, cases)


REPORT = Kind(name="a report of scores", record=Report, advice="Remove it and score the run again.")
DERIVED = ("interval", "summary")  # in a report's file, for its readers


def scores_folder(run: Path, split: Split) -> Path:
    """Where the scores of a run's split lie."""
    return run if split == "test" else run / split


def is_scored(run: Path, split: Split = "test") -> bool:
    """Whether a run's split was scored."""
    return (scores_folder(run, split) / FILE).exists()


def read_report(folder: Path) -> Report:
    """The report that `write_report` wrote there.

    Raises NotScored where there is none, and NoReport for a file that is something else.
    """
    path = folder / FILE
    if not path.exists():
        raise NotScored(f"{path} is missing")
    try:
        content = read_object(path, REPORT.advice)
        told = {name: value for name, value in content.items() if name not in DERIVED}
        if "scores" in told:
            told["scores"] = _with_nan(told["scores"])
        report = REPORT.read(told, path)
    except SimcvdError as error:
        raise NoReport(str(error)) from None
    check_all(report.cases, f"{path}: a scan")
    check_all(report.classes, f"{path}: a class")
    if without := {score.case for score in report.scores if not {*METRICS} <= {*score.values}}:
        raise NoReport(f"{path}: metrics of {few(sorted(without))} missing. {REPORT.advice}")
    return report


def write_report(report: Report, out: Path | str) -> None:
    """Write ``metrics.csv``, ``metrics.json`` and ``metrics.md`` into the folder ``out``.

    None is ever half a file. Raises SimcvdError when the disk is full or the folder cannot be
    written.
    """
    out, summaries = Path(out), summarise(report.scores)
    write_text(out / "metrics.csv", _csv(report.scores))
    write_text(out / "metrics.md", _markdown(report, summaries))
    write_text(out / FILE, _json(report, summaries))  # last: it stands for all three


def _csv(scores: Sequence[Score]) -> str:
    """A row per case and class; an undefined value is an empty cell, ``miss`` says why."""
    rows: list[list[object]] = [["case", "label", "class", "miss", *METRICS]]
    for score in scores:
        values = (score.values[metric] for metric in METRICS)
        cells = ("" if math.isnan(value) else f"{value:.6g}" for value in values)
        rows.append([score.case, score.label, score.name, score.miss, *cells])
    return csv_text(rows)


def _json(report: Report, summaries: Sequence[Summary]) -> str:
    """The whole report; an undefined number is null, which is JSON, and NaN is not."""
    interval = {"level": LEVEL, "resamples": RESAMPLES, "method": "percentile, over cases"}
    plain = REPORT.content(report)
    scores = plain.pop("scores")
    content = {**plain, "interval": interval, "summary": as_json(summaries), "scores": scores}
    return json.dumps(_without_nan(content), indent=1) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return math.nan if value is None else value


def _markdown(report: Report, summaries: Sequence[Summary]) -> str:
    cases = len({score.case for score in report.scores})
    lines = [
        "# Scores",
        "",
        f"{counted(cases, 'case')}. P: prediction, R: reference. The interval is a {LEVEL} % "
        f"percentile bootstrap interval over cases ({RESAMPLES} resamples); it does not contain "
        "the spread over training seeds. Over a miss no distance is defined: it counts as 0 in "
        "Dice and Jaccard, and stands beside the mean distance of the rest.",
        *(f"\n**{markdown(note)}**" for note in report.notes),
    ]
    for summary in summaries:
        lines += ["", *section(summary)]
    return "\n".join([*lines, *_misses(report.scores)]) + "\n"


def section(summary: Summary) -> list[str]:
    """One class: how many were missed, then a row per metric."""
    return [
        f"## {markdown(summary.name)}",
        "",
        f"{summary.cases} looked at, {summary.missed} missed, {summary.absent} absent.",
        "",
        f"| metric | mean | {LEVEL} % interval | mean over | convention |",
        "|---|---|---|---|---|",
        *(_row(name, summary.means[name], summary.missed) for name in METRICS),
    ]


def _row(metric: str, mean: Mean, missed: int) -> str:
    factor = scale(metric)
    numbers = [_number(value * factor) for value in (mean.mean, mean.low, mean.high)]
    over = f"{mean.count}" + (f", {missed} missed" if missed and metric not in PERCENT else "")
    words = convention(metric).replace("|", "\\|")
    interval = f"{numbers[1]} to {numbers[2]}"
    return f"| {metric_title(metric)} | {numbers[0]} | {interval} | {over} | {words} |"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _misses(scores: Sequence[Score]) -> list[str]:
    """Every miss by name."""
    missed = [score for score in scores if score.miss not in ("", ABSENT)]
    rows = [f"| {markdown(s.case)} | {markdown(s.name)} | {s.miss} |" for s in missed]
    return ["", "## Misses", "", "| case | class | miss |", "|---|---|---|", *rows] if rows else []
