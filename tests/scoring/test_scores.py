"""Scores of a case and their summary: worked numbers, misses, and scipy's bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from simcvd.scoring.scores import (
    METRICS,
    Score,
    absent_score,
    bootstrap_mean,
    resamples,
    score_case,
    summarise,
)
from simcvd.types import SimcvdError

NAMES = {0: "background", 1: "chamber", 2: "vein"}
MM = (0.5, 0.5, 2.0)
DISTANCES = [name for name in METRICS if name not in ("dice", "jaccard")]


def rods() -> tuple[np.ndarray, np.ndarray]:
    """Class 1: rods along z, 4 voxels long, the prediction's moved by 1 in x. Class 2: empty."""
    prediction, reference = np.zeros((2, 9, 8, 7), np.uint8)
    reference[3, 4, 1:5] = 1
    prediction[3, 4, 1:3] = prediction[4, 4, 3:5] = 1
    return prediction, reference


def test_worked_case_in_voxels_and_mm() -> None:
    score, absent = score_case(*rods(), NAMES, MM, "a")
    # 2 of 4 + 4 voxels in common. To the reference: 0, 0, 1, 1 voxels; to the prediction: 0, 0, 1
    # (straight ahead), 1. A step in x is 0.5 mm.
    assert score.values["dice"] == pytest.approx(0.5)
    assert score.values["jaccard"] == pytest.approx(1 / 3)
    assert score.values["asd_prediction_to_reference_voxels"] == pytest.approx(0.5)
    assert score.values["assd_voxels"] == pytest.approx(0.5)
    assert score.values["hd95_pooled_voxels"] == pytest.approx(1)
    assert score.values["assd_mm"] == pytest.approx(0.25)
    assert score.values["hd95_directed_max_mm"] == pytest.approx(0.5)
    assert (score.case, score.label, score.name, score.miss) == ("a", 1, "chamber", "")
    assert (absent.label, absent.miss) == (2, "absent")


def test_isotropic_millimetres_are_scaled_voxels() -> None:
    rng = np.random.default_rng(5)
    pair = rng.integers(0, 3, (2, 8, 9, 7))
    anisotropic = score_case(*pair, NAMES, (0.6, 0.6, 0.6 + 1e-3))[0].values
    isotropic = score_case(*pair, NAMES, (0.6, 0.6, 0.6))[0].values
    for name in DISTANCES:
        assert isotropic[name] == pytest.approx(anisotropic[name], rel=3e-3)
        if name.endswith("mm"):
            assert isotropic[name] == pytest.approx(0.6 * isotropic[name[:-2] + "voxels"])


@pytest.mark.parametrize(
    ("empty", "miss", "overlap"),
    [
        ("prediction", "empty prediction", 0.0),
        ("reference", "empty reference", 0.0),
        ("both", "absent", math.nan),
    ],
)
def test_a_miss_is_never_perfect(empty: str, miss: str, overlap: float) -> None:
    prediction, reference = rods()
    if empty in ("prediction", "both"):
        prediction[:] = 0
    if empty in ("reference", "both"):
        reference[:] = 0
    score = score_case(prediction, reference, {1: "chamber"}, MM)[0]
    assert score.miss == miss
    for name in ("dice", "jaccard"):
        np.testing.assert_equal(score.values[name], overlap)
    assert all(math.isnan(score.values[name]) for name in DISTANCES)


def test_shapes_that_differ_are_refused() -> None:
    prediction, reference = rods()
    with pytest.raises(SimcvdError, match=r"case7.*\(9, 8, 7\).*\(9, 8, 6\)"):
        score_case(prediction, reference[..., :6], NAMES, MM, "case7")


def scores(values: dict[str, float], label: int = 1, miss: str = "") -> list[Score]:
    """One class, one value for every metric of every case."""
    return [
        Score(case=c, label=label, name=f"c{label}", miss=miss, values=dict.fromkeys(METRICS, v))
        for c, v in values.items()
    ]


def test_a_miss_lowers_dice_and_is_counted_beside_the_distances() -> None:
    prediction, reference = rods()
    found = score_case(reference, reference, {1: "chamber"}, MM, "found")
    missed = score_case(np.zeros_like(prediction), reference, {1: "chamber"}, MM, "missed")
    nothing = score_case(0 * prediction, 0 * reference, {1: "chamber"}, MM, "nothing")
    (summary,) = summarise(found + missed + nothing)
    assert (summary.cases, summary.missed, summary.absent) == (3, 1, 1)
    assert summary.means["dice"].mean == pytest.approx(0.5)  # 1 and 0; absent has no Dice
    assert summary.means["dice"].count == 2
    assert summary.means["assd_mm"].mean == 0  # of the one found
    assert summary.means["assd_mm"].count == 1
    assert math.isnan(summary.means["assd_mm"].low)  # no interval from one case


def test_all_classes_is_the_mean_of_the_classes() -> None:
    one, two = scores({"a": 0.8, "b": 0.6}), scores({"a": 0.2}, label=2)
    *_, summary = summarise([*one, *two, absent_score("b", 2, "c2")])
    assert summary.name == "all classes"
    assert summary.means["dice"].mean == pytest.approx((0.7 + 0.2) / 2)
    assert (summary.cases, summary.absent) == (4, 1)


def test_two_scores_of_one_case_are_refused() -> None:
    with pytest.raises(SimcvdError, match="'a' has 2 scores of class 1"):
        summarise(scores({"a": 0.5}) + scores({"a": 0.6}))


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(2).beta(8, 2, 20)
    mean = bootstrap_mean(values[:, None], resamples(20))
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=50_000, rng=np.random.default_rng(0)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert mean.mean == pytest.approx(values.mean())
    assert mean.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert mean.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_interval_of_two_cases_by_hand() -> None:
    # Resamples of {0, 1}: means 0, 0.5, 1 with chances 1/4, 1/2, 1/4: the interval is [0, 1].
    mean = bootstrap_mean(np.array([[0.0], [1.0]]), resamples(2))
    assert (mean.mean, mean.low, mean.high) == (0.5, 0.0, 1.0)


def test_interval_draws_whole_cases() -> None:
    # The two classes balance within each case: 0.3 + 0.7. Whatever cases are drawn, the mean over
    # classes stays 0.5; drawing classes one by one would spread it.
    values = np.array([[0.3, 0.7], [0.7, 0.3], [0.1, 0.9], [0.9, 0.1]])
    mean = bootstrap_mean(values, resamples(4))
    assert (mean.low, mean.high) == (pytest.approx(0.5), pytest.approx(0.5))


def test_the_same_scores_give_the_same_interval() -> None:
    group = scores({"a": 0.5, "b": 0.7, "c": 0.9})
    assert summarise(group) == summarise(group)
