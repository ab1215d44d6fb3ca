"""What a scored run holds, read from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simcvd.scoring import words
from simcvd.scoring.comparison import Comparison, compare, correct
from simcvd.scoring.gap import mean_of_defined
from simcvd.scoring.record import NotScored, Split, read_report, scores_folder
from simcvd.scoring.scores import Summary, summarise
from simcvd.training.log import Row, read_log
from simcvd.types import SimcvdError

METRICS = ("dice", "jaccard", "hd95_pooled_mm", "assd_mm", "asd_prediction_to_reference_mm")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run that was scored.

    name: as it stands in tables. summary: of all classes, or of the only one.
    dice: ``[cases, classes]`` in the order of ``cases``, NaN where undefined.
    log: the training's rows. predictions: folder of label maps on the prepared grid.
    folds: the cases that each of several trainings was scored on; () for one training.
    """

    name: str
    summary: Summary
    cases: tuple[str, ...]
    dice: np.ndarray
    log: list[Row]
    predictions: Path
    folds: tuple[tuple[str, ...], ...] = ()

    def by_fold(self) -> list[np.ndarray]:
        """``dice`` of each fold, ``[cases, classes]``."""
        return [self.dice[[self.cases.index(case) for case in fold]] for fold in self.folds]


def load_result(run: Path, name: str, split: Split = "test") -> Result:
    """A run's metrics and log. Raises SimcvdError for a run not scored on ``split``."""
    folder = scores_folder(run, split)
    try:
        report = read_report(folder)
    except NotScored as error:
        raise SimcvdError(
            f"{run} has not been scored; run: simcvd evaluate {run} --split {split}"
        ) from error
    return Result(
        name=name,
        summary=summarise(report.scores)[-1],
        cases=report.cases,
        dice=report.table("dice"),
        log=read_log(run),
        predictions=folder / "predictions",
    )


def dice_by_class(folder: Path) -> dict[str, list[float]]:
    """Mean Dice in 0..1 and the ends of its interval, of each class and of all, as scored there."""
    summaries = summarise(read_report(folder).scores)
    means = {summary.name: summary.means["dice"] for summary in summaries}
    return {name: [mean.mean, mean.low, mean.high] for name, mean in means.items()}


def case_dice(result: Result) -> np.ndarray:
    """Per cent, ``[cases]``: mean over the classes defined in each, NaN if none is."""
    return 100 * mean_of_defined(result.dice, axis=1)


def difference(control: Result, other: Result, ranking: Sequence[Result] = ()) -> Comparison:
    """Dice of ``other`` minus that of ``control``, paired by case; one training each.

    ranking: other trainings of the control's system, to name the hardest scans by.
    """
    if any(result.cases != control.cases for result in (other, *ranking)):
        raise SimcvdError(f"{control.name} and {other.name} were scored on different scans")
    return compare([control.dice], [other.dice], ranking=[result.dice for result in ranking])


def compare_all(
    control: Result, others: Sequence[Result], ranking: Sequence[Result] = ()
) -> list[Comparison]:
    """Each of the others against the control; one of ``ranking`` has no hardest scans itself."""
    return correct(
        [
            difference(control, other, () if any(other is r for r in ranking) else ranking)
            for other in others
        ]
    )


def sentence(control: Result, others: Sequence[Result], gaps: Sequence[Comparison]) -> str:
    """How the others stand against the control, in plain words."""
    return " ".join(
        words.sentence(other.name, control.name, gap, what="Dice", scale=100)
        for other, gap in zip(others, gaps, strict=True)
    )
