"""The hardest quarter of the scans, where unlabelled ones may help though the mean hardly moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simcvd.scoring.gap import (
    Gap,
    Part,
    mean_of_defined,
    most_freedom,
    over_trainings,
    satterthwaite,
)


def hardest_quarter(
    control: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    ranking: Sequence[np.ndarray] = (),
    *,
    paired: bool = False,
) -> Gap | None:
    """The difference on the quarter of the scans on which *other* controls do worst.

    Ranked by the very training that is compared, the worst scans are partly those on which it was
    unlucky, and any other training seems to help. So each training of the control is looked at on
    the scans that its other seeds find hardest, or ``ranking`` if given; None where there is no
    other. Of pairs both trainings are looked at on the same scans, since the other's luck is partly
    the control's. Arguments as of `compare`; a scan with an undefined score in any is left out.
    """
    if not ranking and len(control) < 2:
        return None
    tables = np.array([*control, *other, *ranking])
    scores = mean_of_defined(tables, axis=2)
    scores = scores[:, ~np.isnan(scores).any(axis=0)]
    ours, theirs, by = np.split(scores, [len(control), len(control) + len(other)])
    count = math.ceil(scores.shape[1] / 4)
    if count == 0:
        return None
    hard = [by] * len(ours) if ranking else [np.delete(ours, k, axis=0) for k in range(len(ours))]
    chosen = np.array([_lowest(others.mean(axis=0), count) for others in hard])
    weights = chosen.sum(axis=0) / chosen.sum()
    own = (theirs - ours if paired else ours) * chosen
    trainings = over_trainings([float(row.sum()) / count for row in own])
    by_scan = own.sum(axis=0) / np.maximum(chosen.sum(axis=0), 1)
    difference = by_scan if paired else theirs.mean(axis=0) - by_scan
    scans = _over_weighted_scans(difference, weights)
    parts: tuple[Part, ...] = (trainings, scans)
    if not paired:
        both = (trainings, over_trainings(list(theirs @ weights)), scans)
        parts = (satterthwaite(both, most=most_freedom(control, other)),)
    return Gap(mean=float(weights @ difference), parts=parts, scans=count)


def _lowest(scores: np.ndarray, count: int) -> np.ndarray:
    """Which of ``[cases]`` are the ``count`` lowest."""
    chosen = np.zeros(len(scores), bool)
    chosen[np.argsort(scores, kind="stable")[:count]] = True
    return chosen


def _over_weighted_scans(difference: np.ndarray, weights: np.ndarray) -> Part:
    """What scans add to the variance of a mean in which they weigh differently; they sum to 1.

    1 / sum(w^2) is how many scans of equal weight would count for as much.
    """
    freedom = 1 / float(weights @ weights) - 1
    if freedom < 0.5:  # one scan alone
        return math.nan, 0.0
    squares = float(weights**2 @ (difference - weights @ difference) ** 2)
    return squares * (freedom + 1) / freedom, freedom
