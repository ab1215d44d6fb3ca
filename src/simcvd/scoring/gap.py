"""A difference of means, and what scans and trainings add to its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize, special

from simcvd.scoring.scores import LEVEL

ALPHA = 1 - LEVEL / 100
POWER = 0.8  # how often a difference that is "detectable" is found
Part = tuple[float, float]  # variance that one source adds to a difference, degrees of freedom


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


def over_scans(difference: np.ndarray) -> Part:
    """What scans add to the variance of `mean_score` of ``[cases, classes]``; NaN for one scan.

    By each scan's influence on the mean, which for one class is its difference from the mean.
    """
    defined = ~np.isnan(difference)
    counts = defined.sum(axis=0)
    scans = int(defined.any(axis=1).sum())
    if scans < 2:
        return math.nan, 0.0
    present = counts > 0
    centred = difference[:, present] - mean_of_defined(difference[:, present], axis=0)
    influence = np.where(defined[:, present], centred, 0.0) / counts[present]
    variance = float((influence.mean(axis=1) ** 2).sum()) * scans / (scans - 1)
    return variance, scans - 1.0


def most_freedom(control: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """m (m - 1) of the fewer trainings m: 2, 6, 12, 20 for 2, 3, 4, 5.

    Satterthwaite's freedom is itself an estimate. Where two or three trainings agree by chance it
    comes out far too high; without a bound a tenth of the tables of two trainings each had a false
    verdict. Two trainings each have the 2 degrees that Student's t gives them.
    """
    fewer = min(len(control), len(other))
    return float(max(fewer * (fewer - 1), 1))


def mean_score(table: np.ndarray) -> float:
    """Mean over classes of the mean over scans of ``[cases, classes]``, undefined ones left out."""
    return float(mean_of_defined(mean_of_defined(table, axis=0), axis=0))


def mean_of_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean along an axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), math.nan))


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
