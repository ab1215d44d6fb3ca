"""What a scored run holds, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.benchmark import statistics
from simcvd.benchmark.statistics import NOISE, Comparison, compare, correct
from simcvd.engine.log import Row, read_log
from simcvd.engine.score_run import Split
from simcvd.naming import check_all
from simcvd.types import SimcvdError

METRICS = {
    "dice": "Dice [%]",
    "jaccard": "Jaccard [%]",
    "hd95_pooled_mm": "95HD, pooled [mm]",
    "assd_mm": "symmetric ASD [mm]",
    "asd_prediction_to_reference_mm": "ASD, prediction to reference [mm]",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run that was scored.

    name: as it stands in tables. summary: of all classes, or of the only one; see metrics.json.
    dice: ``[cases, classes]`` in the order of ``cases``, NaN where undefined.
    log: the training's rows. predictions: folder of label maps on the prepared grid.
    """

    name: str
    summary: dict[str, Any]
    cases: tuple[str, ...]
    dice: np.ndarray
    log: list[Row]
    predictions: Path


def load_result(run: Path, name: str, split: Split = "test") -> Result:
    """A run's metrics and log. Raises SimcvdError for a run not scored on ``split``."""
    folder = run if split == "test" else run / split
    path = folder / "metrics.json"
    if not path.exists():
        raise SimcvdError(f"{run} was not scored; type: simcvd evaluate {run} --split {split}")
    content = json.loads(path.read_text(encoding="utf-8"))
    cases = tuple(dict.fromkeys(score["case"] for score in content["scores"]))
    check_all(cases, f"{path}: a scan")
    labels = sorted({score["label"] for score in content["scores"]})
    dice = np.full((len(cases), len(labels)), np.nan)
    for score in content["scores"]:
        value = score["values"]["dice"]
        dice[cases.index(score["case"]), labels.index(score["label"])] = (
            np.nan if value is None else value
        )
    return Result(
        name=name,
        summary=content["summary"][-1],
        cases=cases,
        dice=dice,
        log=read_log(run),
        predictions=folder / "predictions",
    )


def difference(control: Result, other: Result) -> Comparison:
    """Dice of ``other`` minus that of ``control``, paired by case; one training each."""
    if control.cases != other.cases:
        raise SimcvdError(f"{control.name} and {other.name} were scored on different scans")
    return compare([control.dice], [other.dice], noise=NOISE / 100)


def sentence(control: Result, others: Sequence[Result]) -> str:
    """Who is better than the control, worse, or cannot be told from it, in plain words."""
    compared = correct([difference(control, other) for other in others])
    return " ".join(
        statistics.sentence(other.name, control.name, gap, what="Dice", scale=100)
        for other, gap in zip(others, compared, strict=True)
    )
