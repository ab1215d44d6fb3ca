"""Scores of two folders of label maps, and the files a report is written as."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.data.parallel import in_parallel
from simcvd.data.preprocess import canonical
from simcvd.data.reading import grid_difference
from simcvd.engine.scores import (
    ABSENT,
    LEVEL,
    METRICS,
    RESAMPLES,
    Mean,
    Score,
    Summary,
    absent_score,
    score_case,
    summarise,
)
from simcvd.escape import csv_text, markdown
from simcvd.files import write_text
from simcvd.formats import read_label, spacing_of, stem_of
from simcvd.layouts.lists import doubled, scans
from simcvd.types import SimcvdError, Volume
from simcvd.wording import counted, few

__all__ = ["Report", "Score", "evaluate_folders", "score_case", "summarise", "write_report"]

# Title, and the convention in words, of every metric; distances also carry their unit.
CONVENTIONS = {
    "dice": ("Dice", "2 |P and R| / (|P| + |R|), MedPy dc"),
    "jaccard": ("Jaccard", "|P and R| / |P or R|, MedPy jc"),
    "hd95_pooled": ("95HD, pooled", "95th percentile of both directions in one list, MedPy hd95"),
    "hd95_directed_max": ("95HD, max of directed", "larger of the two directions', MONAI"),
    "asd_prediction_to_reference": ("ASD, P to R only", "blind to what P leaves out, MedPy asd"),
    "assd": ("symmetric ASD", "mean of both directions in one list, MedPy assd, MONAI"),
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores, and what a reader must know of them.

    notes: sentences that stand above the tables. info: what was scored, written to the JSON.
    """

    scores: Sequence[Score]
    notes: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)


def evaluate_folders(
    predictions: Path | str,
    references: Path | str,
    *,
    class_names: Mapping[int, str] | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> Report:
    """Score every label map that has the same name, its ending apart, in both folders.

    NIfTI, NRRD and MHA in any mixture. class_names: label value -> name; by default every value
    found in any file, 0 apart. Names in one folder only are not scored but reported in the notes.
    Raises SimcvdError for no common name, two files of one name, an unreadable file, a pair of
    different geometry, of which it prints both, and label maps that are all background.
    """
    found, wanted = _by_name(Path(predictions)), _by_name(Path(references))
    common = sorted(found.keys() & wanted.keys())
    if not common:
        raise SimcvdError(
            f"No file in {predictions} ({few(sorted(found))}) has the name of one in {references} "
            f"({few(sorted(wanted))}). Name each prediction as its reference."
        )
    pairs = [(name, found[name], wanted[name], class_names) for name in common]
    scored = list(in_parallel(_score_pair, pairs, jobs, "Scoring", quiet))
    if not any(scored):
        raise SimcvdError(
            f"All {len(common)} pairs of {predictions} and {references} hold nothing but "
            "background, label 0: there is nothing to score. Look at the label maps."
        )
    notes = (
        *_unmatched("predictions without a reference", found.keys() - wanted.keys()),
        *_unmatched("references without a prediction", wanted.keys() - found.keys()),
    )
    info = {"predictions": str(predictions), "references": str(references)}
    return Report(scores=_with_absent(scored), notes=notes, info=info)


def score_files(
    prediction: Path,
    reference: Path,
    *,
    class_names: Mapping[int, str] | None = None,
    case: str = "",
) -> list[Score]:
    """Scores of one pair of label maps; without class names, of the classes found in either.

    Raises SimcvdError for an unreadable file and for two grids, of which it prints both.
    """
    found, wanted = canonical(read_label(prediction)), canonical(read_label(reference))
    _check_geometry(prediction, found, reference, wanted)
    names = class_names or classes_of(found.array, wanted.array)
    return score_case(found.array, wanted.array, names, spacing_of(wanted.affine), case)


def classes_of(prediction: np.ndarray, reference: np.ndarray) -> dict[int, str]:
    """Every value found in either label map, 0 apart, with a name."""
    values = np.union1d(np.unique(prediction), np.unique(reference))
    return {int(value): f"label {value}" for value in values if value != 0}


def write_report(report: Report, out: Path | str) -> None:
    """Write ``metrics.csv``, ``metrics.json`` and ``metrics.md`` into the folder ``out``.

    None is ever half a file. Raises SimcvdError when the disk is full or the folder cannot be
    written.
    """
    out, summaries = Path(out), summarise(report.scores)
    write_text(out / "metrics.csv", _csv(report.scores))
    write_text(out / "metrics.md", _markdown(report, summaries))
    write_text(out / "metrics.json", _json(report, summaries))  # last: it stands for all three


def _by_name(folder: Path) -> dict[str, Path]:
    files = scans(folder)
    if not files:
        raise SimcvdError(f"{folder}: holds no label map. Give a folder of NIfTI, NRRD or MHA.")
    if problems := doubled(files):
        raise SimcvdError(" ".join(problems))
    return {stem_of(path): path for path in files}


def _score_pair(pair: tuple[str, Path, Path, Mapping[int, str] | None]) -> list[Score]:
    name, predicted, wanted, class_names = pair
    return score_files(predicted, wanted, class_names=class_names, case=name)


def _check_geometry(predicted: Path, prediction: Volume, wanted: Path, reference: Volume) -> None:
    """Refuse grids that do not cover the same voxels of the world, in whatever axis order."""
    if found := grid_difference(prediction, reference, ("prediction", "reference")):
        raise SimcvdError(
            f"{predicted} and its reference {wanted} lie on different grids. {found} "
            "Resample the prediction to the reference."
        )


def _with_absent(scored: Sequence[Sequence[Score]]) -> list[Score]:
    """All scores by case and class; a class that other cases have is absent, not overlooked."""
    classes = sorted({(score.label, score.name) for case in scored for score in case})
    table = {(score.case, score.label): score for case in scored for score in case}
    names = sorted({score.case for case in scored for score in case})
    return [
        table.get((case, label)) or absent_score(case, label, name)
        for case in names
        for label, name in classes
    ]


def _unmatched(what: str, names: set[str]) -> tuple[str, ...]:
    return (f"Not scored: {len(names)} {what}: {few(sorted(names))}.",) if names else ()


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
    content = {
        "info": dict(report.info),
        "notes": list(report.notes),
        "interval": interval,
        "summary": [asdict(summary) for summary in summaries],
        "scores": [asdict(score) for score in report.scores],
    }
    return json.dumps(_without_nan(content), indent=1) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


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
    key, _, unit = metric.rpartition("_") if metric not in CONVENTIONS else (metric, "", "%")
    title, convention = CONVENTIONS[key]
    scale = 100 if unit == "%" else 1
    numbers = [_number(value * scale) for value in (mean.mean, mean.low, mean.high)]
    over = f"{mean.count}" + (f", {missed} missed" if missed and unit != "%" else "")
    convention = convention.replace("|", "\\|")
    interval = f"{numbers[1]} to {numbers[2]}"
    return f"| {title} [{unit}] | {numbers[0]} | {interval} | {over} | {convention} |"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _misses(scores: Sequence[Score]) -> list[str]:
    """Every miss by name."""
    missed = [score for score in scores if score.miss not in ("", ABSENT)]
    rows = [f"| {markdown(s.case)} | {markdown(s.name)} | {s.miss} |" for s in missed]
    return ["", "## Misses", "", "| case | class | miss |", "|---|---|---|", *rows] if rows else []
