"""How sure a comparison is: spread over trainings, paired differences over test scans.

Two things make a difference uncertain: which scans happen to be in the test list, and which seed
a training happened to have. The interval and Wilcoxon's test are about the first: scores are
averaged over seeds for each scan, then scans are resampled. ``seeds_reach`` is about the second.
A verdict needs all three to agree, and the test's ranks to lean as the mean does: a few scans far
on one side can carry the mean while all others lie on the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from simcvd.engine.scores import LEVEL, bootstrap_mean, resamples
from simcvd.types import SimcvdError
from simcvd.wording import counted

Verdict = Literal["better", "worse", "cannot be told"]
ALPHA = 1 - LEVEL / 100
NOISE = 1.0  # Dice points: two trainings of one system lie about 0.8 either side of their mean


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean over trainings and their standard deviation (n - 1), NaN for a single one."""

    mean: float
    std: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A system minus its control, in the metric's own unit, averaged over seeds for each scan.

    mean, low, high: of the difference over scans, with its bootstrap interval at 95 %.
    scans, left_out: scans compared, and those where the metric is undefined for either.
    p: Wilcoxon's signed-rank test, two-sided; p_holm: corrected for the table's other tests.
    side: the sign of the test's rank sum, +1, 0 or -1.
    seeds: trainings of the system and of the control. seeds_reach: how far apart two systems of
    equal worth may lie by their seeds alone.
    """

    mean: float
    low: float
    high: float
    scans: int
    left_out: int
    p: float
    side: int
    p_holm: float
    seeds: tuple[int, int]
    seeds_reach: float
    higher_is_better: bool

    @property
    def verdict(self) -> Verdict:
        """Better or worse only where scans, test and seeds all say so."""
        if self.doubts:
            return "cannot be told"
        return "better" if (self.mean > 0) == self.higher_is_better else "worse"

    @property
    def doubts(self) -> list[str]:
        """Why it cannot be told; empty where it can."""
        doubts = []
        if not (self.low > 0 or self.high < 0):
            doubts.append("the interval contains 0")
        if not self.p_holm < ALPHA:
            doubts.append(f"p is not below {ALPHA:.2f}")
        if self.side * self.mean < 0:
            doubts.append("the ranks lean the other way than the mean")
        if not abs(self.mean) > self.seeds_reach:
            doubts.append("seeds alone can differ as much")
        return doubts


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation over trainings that differ in their seed alone."""
    array = np.asarray(values, dtype=np.float64)
    std = float(array.std(ddof=1)) if len(array) > 1 else math.nan
    return Spread(mean=float(array.mean()), std=std, seeds=len(array))


def compare(
    control: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    *,
    higher_is_better: bool = True,
    noise: float = 0.0,
) -> Comparison:
    """Compare two systems on the same scans; ``p_holm`` is ``p`` until `correct` is called.

    control, other: one array ``[cases, classes]`` a seed, rows being the same scans in the same
        order, NaN where the metric is undefined.
    noise: the largest difference that two trainings of one system are known to show; it stands in
        for the seeds' spread where both systems were trained once.

    Raises SimcvdError for arrays of different shapes.
    """
    shapes = {array.shape for array in (*control, *other)}
    if len(shapes) != 1:
        raise SimcvdError(
            f"scores of different shapes {sorted(shapes)} cannot be paired; score every run on "
            "the same scans and classes"
        )
    difference = np.mean(other, axis=0) - np.mean(control, axis=0)
    mean = bootstrap_mean(difference, resamples(len(difference)))
    by_scan = _mean_of_defined(difference, axis=1)
    defined = by_scan[~np.isnan(by_scan)]
    p, side = signed_rank(defined)
    reach = seeds_reach([mean_score(a) for a in control], [mean_score(a) for a in other], noise)
    return Comparison(
        mean=mean.mean,
        low=mean.low,
        high=mean.high,
        scans=len(defined),
        left_out=len(by_scan) - len(defined),
        p=p,
        side=side,
        p_holm=p,
        seeds=(len(other), len(control)),
        seeds_reach=reach,
        higher_is_better=higher_is_better,
    )


def mean_score(table: np.ndarray) -> float:
    """Mean over classes of the mean over scans of ``[cases, classes]``, undefined ones left out."""
    return float(_mean_of_defined(_mean_of_defined(table, axis=0), axis=0))


def signed_rank(differences: np.ndarray) -> tuple[float, int]:
    """Wilcoxon's signed-rank test (1945): its p, two-sided, and the sign of the rank sum.

    1 and 0 where no scan differs.

    Scans that do not differ are dropped, as Wilcoxon did; equal differences share their mean rank.
    The distribution is exact up to 50 scans, also up to 13 with zeros or ties, and beyond the
    normal approximation. Five scans or fewer cannot reach p < 0.05: 2 / 2^5 is 0.0625.
    """
    rounded = np.round(differences, 12)  # or averaging over seeds would part ties and fill zeros
    if not np.any(rounded):
        return 1.0, 0
    moved = rounded[rounded != 0]
    ranks = stats.rankdata(np.abs(moved)) * np.sign(moved)
    return float(stats.wilcoxon(rounded).pvalue), int(np.sign(ranks.sum()))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): the k-th smallest of n times n - k + 1, never falling."""
    corrected, running = [0.0] * len(p), 0.0
    for rank, index in enumerate(np.argsort(p, kind="stable")):
        running = max(running, min((len(p) - rank) * p[index], 1.0))
        corrected[index] = running
    return corrected


def correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one table, each with its p corrected for all of them."""
    corrected = holm([comparison.p for comparison in comparisons])
    return [replace(c, p_holm=p) for c, p in zip(comparisons, corrected, strict=True)]


def seeds_reach(control: Sequence[float], other: Sequence[float], noise: float) -> float:
    """Half the width of Welch's interval at 95 % for the difference of two means over seeds.

    Where one of them was trained once, it is taken to spread as the other does: half the width of
    the prediction interval of one training about the mean of the other's, but at least ``noise``.
    ``noise`` where both were trained once, or where all seeds agree to the last bit.
    """
    fewer, more = sorted((control, other), key=len)
    if len(more) < 2:
        return noise
    if len(fewer) < 2:
        width = float(stats.t.ppf(1 - ALPHA / 2, len(more) - 1)) * math.sqrt(1 + 1 / len(more))
        return max(noise, width * float(np.std(more, ddof=1)))
    variances = [float(np.var(v, ddof=1)) / len(v) for v in (control, other)]
    if sum(variances) == 0:
        return noise
    parts = zip(variances, (control, other), strict=True)
    freedom = sum(variances) ** 2 / sum(v**2 / (len(values) - 1) for v, values in parts)
    return float(stats.t.ppf(1 - ALPHA / 2, freedom)) * math.sqrt(sum(variances))


def sentence(name: str, control: str, c: Comparison, *, what: str, scale: float = 1.0) -> str:
    """A comparison in plain words. ``what``: the metric; ``scale``: 100 for percent points."""
    verb = {
        "better": "is better than",
        "worse": "is worse than",
        "cannot be told": "cannot be told from",
    }[c.verdict]
    low, high = sorted((scale * c.low, scale * c.high))
    left_out = f", {c.left_out} left out" if c.left_out else ""
    why = f" ({'; '.join(c.doubts)})" if c.doubts else ""
    return (
        f"{name} {verb} {control}{why}: {scale * c.mean:+.2f} {what}, {LEVEL} % interval "
        f"{low:+.2f} to {high:+.2f} over {counted(c.scans, 'scan')}{left_out}, p = {c.p_holm:.2g} "
        f"after Holm, {_trainings(c.seeds)}, whose seeds alone reach {scale * c.seeds_reach:.2f}."
    )


def _trainings(seeds: tuple[int, int]) -> str:
    if seeds[0] == seeds[1]:
        return "one training each" if seeds[0] == 1 else f"{seeds[0]} trainings each"
    return f"{seeds[0]} against {seeds[1]} trainings"


def _mean_of_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean along an axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), math.nan))
