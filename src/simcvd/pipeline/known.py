"""What cross-validation and the labelled scans tell of the final model, for its description."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from simcvd.data.cache import Cache
from simcvd.data.objects import keep_largest, pieces
from simcvd.formats import read_label
from simcvd.inference.known import Known, Usual, percentiles_of
from simcvd.metrics import overlap
from simcvd.naming import inside
from simcvd.report.results import Result
from simcvd.report.scans import indices_of
from simcvd.scoring.scores import bootstrap_mean, resamples


def known_of(cache: Cache, chosen: Result, dice: dict[str, list[float]]) -> Known:
    """chosen: the arm that the model was trained as, scored on held-out scans. dice: its own, by
    class, as `Known.expected` has it.
    """
    return Known(
        usual=usual_of(cache),
        expected={
            name: (_number(mean), _number(low), _number(high))
            for name, (mean, low, high) in dice.items()
            if not math.isnan(mean)
        },
        scans=len(chosen.cases),
        largest_only=largest_only(cache, chosen),
    )


def _number(value: float) -> float | None:
    """JSON has no NaN, and a seal that held one would not be equal to itself."""
    return None if math.isnan(value) else value


def usual_of(cache: Cache) -> Usual:
    """What the labelled scans among the prepared are like."""
    classes = len(cache.manifest.class_names)
    volumes, counts, percentiles = [], [], []
    for name in (name for name in cache.train if cache.manifest.cases[name].has_label):
        case = cache.case(name)
        label = np.asarray(case.label)
        voxels = np.bincount(label.ravel(), minlength=classes)[1:]
        volumes.append(voxels * np.prod(case.info.spacing) / 1000)
        counts.append(pieces(label, classes - 1))
        percentiles.append(percentiles_of(case.image))
    return Usual.of(np.array(volumes), np.array(counts), np.array(percentiles))


def largest_only(cache: Cache, chosen: Result) -> list[int]:
    """Classes whose held-out predictions do better without all pieces but the largest.

    The mean gain of Dice must be above 0, and either its interval over scans too, or no scan may
    lose.
    """
    classes = len(cache.manifest.class_names)
    gains = np.array([list(_gains(cache, chosen, name, classes)) for name in chosen.cases])
    return [k for k in range(1, classes) if _worth(gains[:, k - 1])]


def _gains(cache: Cache, chosen: Result, name: str, classes: int) -> Iterator[float]:
    """By how much the Dice of each class rises; NaN where it is in neither."""
    values = read_label(inside(chosen.predictions, name, ".nii.gz")).array
    found = indices_of(values, cache.manifest.label_values)
    cleaned = found.copy()
    keep_largest(cleaned, range(1, classes))
    label = np.asarray(cache.case(name).label)
    for k in range(1, classes):
        yield overlap.dice(cleaned == k, label == k) - overlap.dice(found == k, label == k)


def _worth(gains: np.ndarray) -> bool:
    gains = gains[~np.isnan(gains)]
    if not len(gains) or gains.mean() <= 0:
        return False
    surely = bootstrap_mean(gains[:, None], resamples(len(gains))).low > 0
    return bool(gains.min() >= 0 or surely)
