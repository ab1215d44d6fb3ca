"""How sure the difference of two systems is: one p that holds test scans and trainings alike.

Two things make a difference uncertain: which scans happen to be in the test list, and which seed
a training happened to have. Their variances add up to that of the difference, and Student's t with
Satterthwaite's degrees of freedom (1946) gives one interval and one p. Of ways to do this the sum
was chosen by simulation (``benchmarks/verdict_simulation.py``, docs/protocols.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from simcvd.scoring.gap import (
    ALPHA,
    Gap,
    combined,
    mean_score,
    most_freedom,
    over_scans,
    over_trainings,
)
from simcvd.scoring.hardest import hardest_quarter
from simcvd.types import SimcvdError

Verdict = Literal["better", "worse", "inconclusive", "no verdict"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean over trainings and their standard deviation (n - 1), NaN for a single one."""

    mean: float
    std: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A system minus its control.

    left_out: scans where the metric is undefined for either. trainings: of the system and of the
    control. folds: whether each training was scored on scans of its own. p_holm: corrected for
    the ``tests`` of the table. hardest: the same difference on the hardest quarter of the scans,
    None where these cannot be named; it has no verdict.
    """

    gap: Gap
    left_out: int
    trainings: tuple[int, int]
    p_holm: float
    folds: bool = False
    tests: int = 1
    hardest: Gap | None = None
    higher_is_better: bool = True

    @property
    def verdict(self) -> Verdict:
        """From p alone; none where a single training or scan leaves p undefined."""
        if math.isnan(self.p_holm):
            return "no verdict"
        if self.p_holm >= ALPHA:
            return "inconclusive"
        return "better" if (self.gap.mean > 0) == self.higher_is_better else "worse"

    @property
    def detectable(self) -> float:
        """The difference that would have been found in 80 % of repetitions of the whole table."""
        return self.gap.detectable(self.tests)


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation over trainings that differ in their seed alone."""
    array = np.asarray(values, dtype=np.float64)
    std = float(array.std(ddof=1)) if len(array) > 1 else math.nan
    return Spread(mean=float(array.mean()), std=std, seeds=len(array))


def compare(
    control: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    *,
    ranking: Sequence[np.ndarray] = (),
    higher_is_better: bool = True,
) -> Comparison:
    """Compare two systems on the same scans; ``p_holm`` is ``p`` until `correct` is called.

    The variance of the difference is s_control^2 / K_control + s_other^2 / K_other over trainings
    plus s_difference^2 / n over scans. What a training does to single scans is in both, which errs
    on the safe side. Nothing is said of a difference to or from a single training.

    control, other: one array ``[cases, classes]`` a seed, rows being the same scans in the same
        order, NaN where the metric is undefined.
    ranking: the same of other trainings of the control's system, to find the hardest scans by;
        see `hardest_quarter`.

    Raises SimcvdError for arrays of different shapes.
    """
    shapes = {array.shape for array in (*control, *other, *ranking)}
    if len(shapes) != 1:
        raise SimcvdError(
            f"scores of different shapes {sorted(shapes)} cannot be paired; score every run on "
            "the same scans and classes"
        )
    difference = np.mean(other, axis=0) - np.mean(control, axis=0)
    scans = int((~np.isnan(difference)).any(axis=1).sum())
    parts = (
        over_trainings([mean_score(table) for table in control]),
        over_trainings([mean_score(table) for table in other]),
        over_scans(difference),
    )
    gap = combined(mean_score(difference), parts, scans, most=most_freedom(control, other))
    return Comparison(
        gap=gap,
        left_out=len(difference) - scans,
        trainings=(len(other), len(control)),
        p_holm=gap.p,
        hardest=hardest_quarter(control, other, ranking),
        higher_is_better=higher_is_better,
    )


def compare_folds(control: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Comparison:
    """Compare two systems by cross-validation: Student's paired t over the folds' differences.

    Each fold is one training of each system, scored on scans of its own, so that its difference
    holds both what scans and what seeds do; the variation from fold to fold stands for both. That
    trainings of two folds share most of their scans is not accounted for. The hardest scans
    cannot be named, each being held out from one training of the control alone.

    control, other: one array ``[cases, classes]`` a fold, NaN where the metric is undefined.

    Raises SimcvdError for folds of different shapes.
    """
    shapes = [[table.shape for table in tables] for tables in (control, other)]
    if shapes[0] != shapes[1]:
        raise SimcvdError(f"folds of different shapes {shapes[0]}, {shapes[1]} cannot be paired")
    differences = [b - a for a, b in zip(control, other, strict=True)]
    means = [mean for table in differences if not math.isnan(mean := mean_score(table))]
    scans = sum(int((~np.isnan(table)).any(axis=1).sum()) for table in differences)
    mean = float(np.mean(means)) if means else math.nan
    gap = combined(mean, [over_trainings(means)], scans)
    return Comparison(
        gap=gap,
        left_out=sum(map(len, differences)) - scans,
        trainings=(len(means), len(means)),
        p_holm=gap.p,
        folds=True,
    )


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): the k-th smallest of n times n - k + 1, never falling."""
    corrected, running = [0.0] * len(p), 0.0
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        running = max(running, min((len(p) - rank) * p[index], 1.0))
        corrected[index] = running
    return corrected


def correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one table, each p corrected for all that have one."""
    tested = [c for c in comparisons if not math.isnan(c.gap.p)]
    p = iter(holm([c.gap.p for c in tested]))
    return [
        c if math.isnan(c.gap.p) else replace(c, p_holm=next(p), tests=len(tested))
        for c in comparisons
    ]
