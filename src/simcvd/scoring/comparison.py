"""How sure the difference of two systems is: one p that holds test scans and trainings alike.

Two things make a difference uncertain: which scans happen to be in the test list, and which seed
a training happened to have. Their variances add up to that of the difference, and Student's t gives
one interval and one p. Trainings that begin with the same weights are pairs, of which only the
difference counts. The rules were chosen by simulation (``benchmarks/verdict_simulation.py``,
docs/protocols.md).
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
    Part,
    mean_score,
    most_freedom,
    over_scans,
    over_trainings,
    satterthwaite,
    squared_t,
)
from simcvd.scoring.hardest import hardest_quarter
from simcvd.types import SimcvdError

Verdict = Literal["better", "worse", "inconclusive", "no verdict"]
Kind = Literal["trainings", "pairs", "folds", "two folds"]
# The variance over trainings of what they do to all scans alike, as a part of that over scans.
# In this repository's studies it is up to 0.31, of pairs 0.02: benchmarks/results/statistics.
SHARE = 0.5


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
    control. kind: what they are: independent, pairs that began with the same weights, or folds,
    each scored on scans of its own; "two folds" rest on `SHARE`. p_holm: corrected for the
    ``tests`` of the table. hardest: the same difference on the hardest quarter of the scans, None
    where these cannot be named; it has no verdict.
    """

    gap: Gap
    left_out: int
    trainings: tuple[int, int]
    p_holm: float
    kind: Kind = "trainings"
    tests: int = 1
    hardest: Gap | None = None

    @property
    def verdict(self) -> Verdict:
        """From p alone; none where a single training or scan leaves p undefined."""
        if math.isnan(self.p_holm):
            return "no verdict"
        if self.p_holm >= ALPHA:
            return "inconclusive"
        return "better" if self.gap.mean > 0 else "worse"

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
    paired: bool = False,
    ranking: Sequence[np.ndarray] = (),
) -> Comparison:
    """Compare two systems on the same scans; ``p_holm`` is ``p`` until `correct` is called.

    The variance of the difference is s_control^2 / K_control + s_other^2 / K_other over trainings,
    or s_pair^2 / K of the pairs' differences, plus s_difference^2 / n over scans. What a training
    does to single scans is in both, which errs on the safe side. Nothing is said of a difference
    to or from a single training.

    control, other: one array ``[cases, classes]`` a seed, rows being the same scans in the same
        order, NaN where the metric, of which more is better, is undefined.
    paired: whether the k-th training of either began with the same weights, so that what they are
        worth cancels. Of trainings that share nothing pairing only costs degrees of freedom.
    ranking: the same of other trainings of the control's system, to find the hardest scans by;
        see `hardest_quarter`.

    Raises SimcvdError for arrays of different shapes, and for pairs that are not.
    """
    shapes = {array.shape for array in (*control, *other, *ranking)}
    if len(shapes) != 1:
        raise SimcvdError(
            f"scores of different shapes {sorted(shapes)} cannot be paired; score every run on "
            "the same scans and classes"
        )
    if paired and len(control) != len(other):
        raise SimcvdError(f"{len(control)} and {len(other)} trainings are no pairs")
    gap = gap_of(control, other, paired=paired)
    return Comparison(
        gap=gap,
        left_out=len(control[0]) - gap.scans,
        trainings=(len(other), len(control)),
        p_holm=gap.p,
        kind="pairs" if paired else "trainings",
        hardest=hardest_quarter(control, other, ranking, paired=paired),
    )


def gap_of(control: Sequence[np.ndarray], other: Sequence[np.ndarray], *, paired: bool) -> Gap:
    """The difference that `compare` looks at, arguments as there."""
    difference = np.mean(other, axis=0) - np.mean(control, axis=0)
    scans = over_scans(difference)
    if paired:
        pairs = [mean_score(b - a) for a, b in zip(control, other, strict=True)]
        parts: tuple[Part, ...] = (over_trainings(pairs), scans)
    else:
        arms = [over_trainings([mean_score(table) for table in arm]) for arm in (control, other)]
        parts = (satterthwaite((*arms, scans), most=most_freedom(control, other)),)
    return Gap(mean=mean_score(difference), parts=parts, scans=_defined(difference))


def compare_folds(control: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Comparison:
    """Compare two systems by cross-validation: Student's paired t over the folds' differences.

    Each fold is one training of each system, scored on scans of its own, so that its difference
    holds both what scans and what seeds do; the variation from fold to fold stands for both. That
    trainings of two folds share most of their scans is not accounted for. The hardest scans
    cannot be named, each being held out from one training of the control alone.

    Two folds cannot show how much trainings vary: at one degree of freedom the interval reaches
    12.7 errors. There the scans within the folds are looked at, and `SHARE` of their variance is
    allowed for trainings, unless the folds differ by more than that lets them.

    control, other: one array ``[cases, classes]`` a fold, NaN where the metric is undefined.

    Raises SimcvdError for folds of different shapes.
    """
    shapes = [[table.shape for table in tables] for tables in (control, other)]
    if shapes[0] != shapes[1]:
        raise SimcvdError(f"folds of different shapes {shapes[0]}, {shapes[1]} cannot be paired")
    differences = [b - a for a, b in zip(control, other, strict=True)]
    known = [table for table in differences if _defined(table)]
    means = [mean_score(table) for table in known]
    part, scans = over_trainings(means), sum(map(_defined, known))
    by_scans = _within_two(known, part[0]) if len(known) == 2 else None
    mean = float(np.mean(means)) if means else math.nan
    gap = Gap(mean=mean, parts=(by_scans or part,), scans=scans)
    return Comparison(
        gap=gap,
        left_out=sum(map(len, differences)) - scans,
        trainings=(len(means), len(means)),
        p_holm=gap.p,
        kind="two folds" if by_scans else "folds",
    )


def _within_two(differences: Sequence[np.ndarray], shown: float) -> Part | None:
    """The variance of the mean over two folds by the scans in each, where scans add s^2 / 2m and
    trainings are allowed s^2 SHARE / 2.

    shown: the variance by the folds' means, which is taken if larger. None if it is so by more
    than chance (F at 5 %), and for a fold of a single scan.
    """
    variance, freedom = satterthwaite([over_scans(table) for table in differences])
    scans = 2 / sum(1 / _defined(table) for table in differences)
    allowed = variance / 4 * (1 + SHARE * scans)
    if not shown <= allowed * squared_t(freedom, ALPHA):  # NaN, too
        return None
    return max(allowed, shown), freedom


def _defined(table: np.ndarray) -> int:
    """How many scans of ``[cases, classes]`` have a score."""
    return int((~np.isnan(table)).any(axis=1).sum())


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
