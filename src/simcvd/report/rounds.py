"""One line for each round of a `simcvd run` folder, read from the trainings that it left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simcvd.report.results import load_result
from simcvd.scoring.record import is_scored
from simcvd.training.log import read_log
from simcvd.training.loop import BASE
from simcvd.training.run import folds_in, read_config


@dataclass(frozen=True, kw_only=True)
class RoundSummary:
    """labeled: scans with a label. dice: cross-validated mean Dice in 0..1, by arm.

    minutes: of the trainings that were compared. An arm that was not scored, as in a round that
    was not finished, is left out.
    """

    labeled: int
    dice: dict[str, float]
    minutes: float


def summary_of(folder: Path, arms: Sequence[str]) -> RoundSummary:
    """The summary of the round whose result lies in ``folder``."""
    folds = [fold for arm in (BASE, *arms) for fold in folds_in(folder / arm)]
    runs = [read_config(fold)["run"] for fold in folds if (fold / "config.json").exists()]
    known = {name for run in runs for name in (*run["labeled"], *run["holdout"])}
    logs = [read_log(fold) for fold in folds]
    return RoundSummary(
        labeled=len(known),
        dice={
            arm: load_result(folder / arm, arm).summary.means["dice"].mean
            for arm in arms
            if is_scored(folder / arm)
        },
        minutes=sum(log[-1]["seconds"] for log in logs if log) / 60,
    )
