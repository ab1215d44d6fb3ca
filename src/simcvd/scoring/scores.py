"""Scores of one case, and their summary over cases. Misses are never perfect and never dropped.

A class of a case is one of

* found by both: every metric is defined;
* a miss, ``empty prediction`` or ``empty reference``: Dice and Jaccard are 0 and enter the mean, no
  distance is defined, and the summary counts the miss beside the mean distance of the rest;
* ``absent`` from both: nothing is defined, and the summary counts it as absent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simcvd.distance import bounding_box
from simcvd.metrics import overlap, surface
from simcvd.types import SimcvdError, Triple

EMPTY_PREDICTION, EMPTY_REFERENCE, ABSENT = "empty prediction", "empty reference", "absent"
RESAMPLES, SEED, LEVEL = 5000, 0, 95
ALL_CLASSES = "all classes"

OVERLAPS = {"dice": overlap.dice, "jaccard": overlap.jaccard}
DISTANCES = {
    "hd95_pooled": surface.hd95_pooled,
    "hd95_directed_max": surface.hd95_directed_max,
    "asd_prediction_to_reference": surface.asd_prediction_to_reference,
    "assd": surface.assd,
}
METRICS = (*OVERLAPS, *(f"{name}_{unit}" for unit in ("voxels", "mm") for name in DISTANCES))


@dataclass(frozen=True, kw_only=True)
class Score:
    """One class of one case.

    label: the class's index or value; name: what people call it. miss: "" when both masks hold
    the class, else what is wrong. values: every one of `METRICS`, NaN where it is undefined.
    """

    case: str
    label: int
    name: str
    miss: str
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Mean over ``count`` defined values, with its bootstrap interval; NaN where undefined."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One class, or all of them, over all cases.

    cases: classes of cases that were looked at, of which ``missed`` are misses and ``absent`` are
    empty in prediction and reference alike.
    """

    name: str
    cases: int
    missed: int
    absent: int
    means: Mapping[str, Mean]


def score_case(
    prediction: np.ndarray,
    reference: np.ndarray,
    class_names: Mapping[int, str],
    spacing_mm: Triple,
    case: str = "",
) -> list[Score]:
    """Every metric of every foreground class of one case, in voxels and in mm.

    prediction, reference: ``[X, Y, Z]`` integers on one grid. class_names: value -> name; the
    background, 0, is passed over. Raises SimcvdError if the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise SimcvdError(
            f"{case or 'A case'}: the prediction has shape {prediction.shape}, the reference "
            f"{reference.shape}. Bring both to one grid before comparing them."
        )
    foreground = (prediction != 0) | (reference != 0)
    if foreground.any():  # all that is measured lies in this box
        box = bounding_box(foreground)
        prediction, reference = prediction[box], reference[box]
    scores = []
    for label, name in class_names.items():
        if label != 0:
            miss, values = _score(prediction == label, reference == label, spacing_mm)
            scores.append(Score(case=case, label=label, name=name, miss=miss, values=values))
    return scores


def absent_score(case: str, label: int, name: str) -> Score:
    """The score of a class that neither the prediction nor the reference of a case holds."""
    undefined = dict.fromkeys(METRICS, math.nan)
    return Score(case=case, label=label, name=name, miss=ABSENT, values=undefined)


def summarise(scores: Sequence[Score]) -> list[Summary]:
    """Every class over the cases, then, if there are several, all classes together.

    The mean of all classes is the mean of the classes' means, so that a class present in few cases
    weighs as much as another. Raises SimcvdError for two scores of one class of one case.

    Examples:
        A scan found whole (Dice 1) and one missed (Dice 0, and no distance):

        >>> cyst, nothing = np.array([[[1]]]), np.array([[[0]]])
        >>> found = score_case(cyst, cyst, {1: "cyst"}, (1.0, 1.0, 1.0), case="a")
        >>> missed = score_case(nothing, cyst, {1: "cyst"}, (1.0, 1.0, 1.0), case="b")
        >>> (summary,) = summarise(found + missed)
        >>> summary.missed, summary.means["dice"].mean, summary.means["assd_mm"].count
        (1, 0.5, 1)
    """
    _check_distinct(scores)
    by_class: dict[tuple[int, str], list[Score]] = {}
    for score in scores:
        by_class.setdefault((score.label, score.name), []).append(score)
    cases = list(dict.fromkeys(score.case for score in scores))
    draws = resamples(len(cases))
    summaries = [_summary(name, group, cases, draws) for (_, name), group in by_class.items()]
    if len(summaries) > 1:
        summaries.append(_summary(ALL_CLASSES, scores, cases, draws))
    return summaries


def tabulated(metric: str, scores: Iterable[Score], cases: Sequence[str]) -> np.ndarray:
    """Values of one metric, ``[cases, classes]``, NaN where there is none.

    Rows as ``cases``, columns in the order in which ``scores`` has the classes.
    """
    rows = {case: row for row, case in enumerate(cases)}
    columns: dict[tuple[int, str], int] = {}
    cells = []
    for score in scores:
        column = columns.setdefault((score.label, score.name), len(columns))
        cells.append((rows[score.case], column, score.values[metric]))
    table = np.full((len(rows), len(columns)), math.nan)
    for row, column, value in cells:
        table[row, column] = value
    return table


def resamples(cases: int) -> np.ndarray:
    """How often each case is drawn in each bootstrap resample, ``[RESAMPLES, cases]`` float64.

    Always the same draws. Whole cases are drawn, with all their classes, because the classes of a
    case are not independent.
    """
    if cases == 0:
        return np.zeros((RESAMPLES, 0))
    rng = np.random.default_rng(SEED)
    return rng.multinomial(cases, np.full(cases, 1 / cases), size=RESAMPLES).astype(np.float64)


def bootstrap_mean(values: np.ndarray, draws: np.ndarray) -> Mean:
    """Mean over cases, then over classes, with its percentile bootstrap interval at 95 %.

    values: ``[cases, classes]``, NaN where undefined. draws: of `resamples`. The interval needs
    at least two cases with a value: it cannot be told from one.
    """
    defined = ~np.isnan(values)
    count = int(defined.sum())
    mean = float(_mean_of_classes(np.ones((1, len(values))), values, defined)[0])
    if defined.any(axis=1).sum() < 2:
        return Mean(mean=mean, low=math.nan, high=math.nan, count=count)
    means = _mean_of_classes(draws, values, defined)
    tail = (100 - LEVEL) / 2
    low, high = np.nanpercentile(means, [tail, 100 - tail])
    return Mean(mean=mean, low=float(low), high=float(high), count=count)


def _mean_of_classes(draws: np.ndarray, values: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Mean ``[D]`` of the classes' means for every row of how often each case counts ``[D, N]``."""
    sums, counts = draws @ np.where(defined, values, 0.0), draws @ defined.astype(np.float64)
    class_means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    present = (counts > 0).sum(axis=1)
    undefined = np.full(len(draws), math.nan)
    return np.divide(class_means.sum(axis=1), present, out=undefined, where=present > 0)


def _score(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Triple
) -> tuple[str, dict[str, float]]:
    """What is missed, if anything, and every metric of two masks."""
    values = dict.fromkeys(METRICS, math.nan)
    values |= {name: metric(prediction, reference) for name, metric in OVERLAPS.items()}
    miss = _miss(bool(prediction.any()), bool(reference.any()))
    if not miss:
        values |= _distances(surface.find_surfaces(prediction, reference), spacing_mm)
    return miss, values


def _miss(predicted: bool, present: bool) -> str:
    if predicted and present:
        return ""
    if predicted:
        return EMPTY_REFERENCE
    return EMPTY_PREDICTION if present else ABSENT


def _distances(surfaces: surface.Surfaces, spacing_mm: Triple) -> dict[str, float]:
    """Every distance metric in voxels and in mm."""
    record = surface.distances_between(surfaces)
    voxels = {name: metric(record) for name, metric in DISTANCES.items()}
    if np.allclose(spacing_mm, spacing_mm[0], rtol=1e-6, atol=0):  # then one search serves both
        mm = {name: value * spacing_mm[0] for name, value in voxels.items()}
    else:
        record = surface.distances_between(surfaces, spacing_mm)
        mm = {name: metric(record) for name, metric in DISTANCES.items()}
    by_unit = {"voxels": voxels, "mm": mm}
    return {f"{name}_{unit}": v for unit, part in by_unit.items() for name, v in part.items()}


def _check_distinct(scores: Iterable[Score]) -> None:
    counts = Counter((score.case, score.label) for score in scores)
    for (case, label), number in counts.items():
        if number > 1:
            raise SimcvdError(
                f"Case '{case}' has {number} scores of class {label}. Give every case its own name."
            )


def _summary(
    name: str, scores: Sequence[Score], cases: Sequence[str], draws: np.ndarray
) -> Summary:
    return Summary(
        name=name,
        cases=len(scores),
        missed=sum(score.miss in (EMPTY_PREDICTION, EMPTY_REFERENCE) for score in scores),
        absent=sum(score.miss == ABSENT for score in scores),
        means={m: bootstrap_mean(tabulated(m, scores, cases), draws) for m in METRICS},
    )
