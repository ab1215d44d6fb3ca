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
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import optimize, special

from simcvd.scoring.scores import LEVEL
from simcvd.types import SimcvdError

Verdict = Literal["better", "worse", "inconclusive", "no verdict"]
ALPHA = 1 - LEVEL / 100
POWER = 0.8  # how often a difference that "could be seen" is found
Part = tuple[float, float]  # variance that one source adds to a difference, degrees of freedom


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean over trainings and their standard deviation (n - 1), NaN for a single one."""

    mean: float
    std: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A difference of means over ``scans``, in the metric's own unit.

    error: its standard error, NaN where that cannot be known. freedom: of Student's t.
    """

    mean: float
    error: float
    freedom: float
    scans: int

    @property
    def low(self) -> float:
        """Lower end of the interval at 95 %."""
        return self.mean - self._reach

    @property
    def high(self) -> float:
        """Upper end of the interval at 95 %."""
        return self.mean + self._reach

    @cached_property
    def p(self) -> float:
        """Two-sided; NaN without an error."""
        if self.error == 0:
            return float(self.mean == 0)
        return 2 * float(special.stdtr(self.freedom, -abs(self.mean) / self.error))

    def detectable(self, tests: int = 1) -> float:
        """The true difference that is found in 80 % of repetitions as one of ``tests``."""
        return self.error * _noncentrality(ALPHA / tests, self.freedom)

    @property
    def _reach(self) -> float:
        return -self.error * float(special.stdtrit(self.freedom, ALPHA / 2))


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
        _over_scans(difference),
    )
    gap = combined(mean_score(difference), parts, scans, most=_most_freedom(control, other))
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


def hardest_quarter(
    control: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    ranking: Sequence[np.ndarray] = (),
) -> Gap | None:
    """The difference on the quarter of the scans on which *other* controls do worst.

    Ranked by the very training that is compared, the worst scans are partly those on which it was
    unlucky, and any other training seems to help. So each training of the control is looked at on
    the scans that its other seeds find hardest, or ``ranking`` if given; None where there is no
    other. Tables as in `compare`; a scan with an undefined score in any is left out.
    """
    if not ranking and len(control) < 2:
        return None
    ours, theirs, by = (
        np.array([_mean_of_defined(table, axis=1) for table in tables])
        for tables in (control, other, ranking or control)
    )
    known = ~np.isnan(np.concatenate([ours, theirs, by])).any(axis=0)
    ours, theirs, by = ours[:, known], theirs[:, known], by[:, known]
    count = math.ceil(known.sum() / 4)
    if count == 0:
        return None
    chosen = np.zeros(ours.shape, bool)
    for row in range(len(ours)):
        hard = by if ranking else np.delete(by, row, axis=0)
        chosen[row, np.argsort(hard.mean(axis=0), kind="stable")[:count]] = True
    weights = chosen.sum(axis=0) / chosen.sum()
    difference = theirs.mean(axis=0) - np.where(chosen, ours, 0).sum(axis=0) / np.maximum(
        chosen.sum(axis=0), 1
    )
    mean = float(weights @ difference)
    alike = 1 / float(weights @ weights)  # how many scans of equal weight count for as much
    over_scans = float(weights**2 @ (difference - mean) ** 2) * alike / max(alike - 1, 1e-9)
    parts = (
        over_trainings([float(row[mask].mean()) for row, mask in zip(ours, chosen, strict=True)]),
        over_trainings(list(theirs @ weights)),
        (over_scans if alike > 1 + 1e-9 else math.nan, alike - 1),
    )
    return combined(mean, parts, count, most=_most_freedom(control, other))


def combined(mean: float, parts: Sequence[Part], scans: int, *, most: float = math.inf) -> Gap:
    """A difference whose variance is the sum of ``parts``, with Satterthwaite's freedom.

    most: a bound on the freedom. Where any part is unknown, so is the error.
    """
    variance = sum(variance for variance, _ in parts)
    if not variance > 0:  # NaN, too
        return Gap(mean=mean, error=math.sqrt(variance), freedom=1.0, scans=scans)
    freedom = variance**2 / sum(v**2 / free for v, free in parts)
    return Gap(mean=mean, error=math.sqrt(variance), freedom=min(freedom, most), scans=scans)


def over_trainings(means: Sequence[float]) -> Part:
    """What trainings add to the variance of the mean over them; NaN for a single one."""
    if len(means) < 2:
        return math.nan, 0.0
    return float(np.var(means, ddof=1)) / len(means), len(means) - 1.0


def mean_score(table: np.ndarray) -> float:
    """Mean over classes of the mean over scans of ``[cases, classes]``, undefined ones left out."""
    return float(_mean_of_defined(_mean_of_defined(table, axis=0), axis=0))


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


def _over_scans(difference: np.ndarray) -> Part:
    """What scans add to the variance of `mean_score` of ``[cases, classes]``; NaN for one scan.

    By each scan's influence on the mean, which for one class is its difference from the mean.
    """
    defined = ~np.isnan(difference)
    counts = defined.sum(axis=0)
    scans = int(defined.any(axis=1).sum())
    if scans < 2:
        return math.nan, 0.0
    present = counts > 0
    centred = difference[:, present] - _mean_of_defined(difference[:, present], axis=0)
    influence = np.where(defined[:, present], centred, 0.0) / counts[present]
    variance = float((influence.mean(axis=1) ** 2).sum()) * scans / (scans - 1)
    return variance, scans - 1.0


def _most_freedom(control: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """m (m - 1) of the fewer trainings m: 2, 6, 12, 20 for 2, 3, 4, 5.

    Satterthwaite's freedom is itself an estimate. Where two or three trainings agree by chance it
    comes out far too high; without a bound a tenth of the tables of two trainings each had a false
    verdict. Two trainings each have the 2 degrees that Student's t gives them.
    """
    fewer = min(len(control), len(other))
    return float(max(fewer * (fewer - 1), 1))


def _noncentrality(alpha: float, freedom: float) -> float:
    """How many standard errors are found in 80 % of repetitions by a two-sided t test.

    Solved over quantiles of the estimated error, which holds for any freedom; the chance of a
    verdict on the wrong side is left out.
    """
    critical = -float(special.stdtrit(freedom, alpha / 2))
    quantiles = (np.arange(2000) + 0.5) / 2000
    # Of the estimated error over the true one: the root of chi-squared over its freedom.
    errors = np.sqrt(2 * special.gammaincinv(freedom / 2, quantiles) / freedom)
    limits = critical * errors
    found = optimize.brentq(
        lambda size: float(special.ndtr(size - limits).mean()) - POWER, 0, 3 * critical + 9
    )
    return float(found)


def _mean_of_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean along an axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), math.nan))
