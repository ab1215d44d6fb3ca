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
TINY = 1e-30  # no p is said to be smaller
Part = tuple[float, float]  # variance that one source adds to a difference, degrees of freedom


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A difference of means over ``scans``, in the metric's own unit, its variance that of parts.

    The interval reaches sqrt(sum of v t^2), t being Student's of each part's own freedom: that of
    the t test where there is one part. Of several it covers at least what it is meant to, whatever
    their true shares, since the chi-squared distribution of one degree is concave (Banerjee, 1960,
    Sankhya 22, 357-358). Satterthwaite's freedom does not: of two or three pairs it is far too
    often too high (``benchmarks/verdict_simulation.py``).
    """

    mean: float
    parts: tuple[Part, ...]
    scans: int

    @property
    def error(self) -> float:
        """Standard error, NaN where that cannot be known."""
        return math.sqrt(sum(variance for variance, _ in self.parts))

    @property
    def low(self) -> float:
        """Lower end of the interval at 95 %."""
        return self.mean - self._reach(ALPHA)

    @property
    def high(self) -> float:
        """Upper end of the interval at 95 %."""
        return self.mean + self._reach(ALPHA)

    @cached_property
    def p(self) -> float:
        """Two-sided, of the widest interval that is free of 0; NaN without an error."""
        if not self.error > 0:
            return float(self.mean == 0) if self.error == 0 else math.nan
        t = -abs(self.mean) / self.error
        ends = [2 * float(special.stdtr(freedom, t)) for v, freedom in self.parts if v > 0]
        low, high = max(min(ends), TINY), max(*ends, TINY)

        def beyond(p: float) -> float:
            return self._reach(p) - abs(self.mean)

        if beyond(low) <= 0:  # one part alone, or nearly so
            return low
        return high if beyond(high) >= 0 else float(optimize.brentq(beyond, low, high))

    def detectable(self, tests: int = 1) -> float:
        """The true difference that is found in 80 % of repetitions as one of ``tests``."""
        return _found(self.parts, ALPHA / tests)

    def _reach(self, alpha: float) -> float:
        return math.sqrt(sum(v * squared_t(freedom, alpha) for v, freedom in self.parts))


def satterthwaite(parts: Sequence[Part], *, most: float = math.inf) -> Part:
    """The sum of independent parts as one, its freedom by Satterthwaite (1946) and at most so high.

    Where any part is unknown, so is the sum.
    """
    variance = sum(variance for variance, _ in parts)
    if not variance > 0:  # NaN, too
        return variance, 1.0
    return variance, min(variance**2 / sum(v**2 / free for v, free in parts), most)


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


def squared_t(freedom: float, alpha: float) -> float:
    """Of Student's t that is exceeded on either side with chance alpha: F of 1 and freedom."""
    return float(special.stdtrit(freedom, alpha / 2)) ** 2


def _found(parts: Sequence[Part], alpha: float) -> float:
    """The difference that a two-sided test finds in 80 % of repetitions.

    Solved over quantiles of each part's estimate, chi-squared over its freedom; the chance of a
    verdict on the wrong side is left out.
    """
    error = math.sqrt(sum(variance for variance, _ in parts))
    if not error > 0:
        return error
    count = 2000 if len(parts) == 1 else 64
    quantiles = (np.arange(count) + 0.5) / count
    squares = np.zeros(1)
    for variance, freedom in parts:
        estimates = variance * 2 * special.gammaincinv(freedom / 2, quantiles) / freedom
        squares = np.add.outer(squares, estimates * squared_t(freedom, alpha)).ravel()
    limits = np.sqrt(squares)
    found = optimize.brentq(
        lambda size: float(special.ndtr((size - limits) / error).mean()) - POWER,
        0,
        float(limits.max()) + error,
    )
    return float(found)
