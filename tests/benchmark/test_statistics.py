"""Statistics held against scipy and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from simcvd.benchmark.statistics import (
    Comparison,
    compare,
    correct,
    holm,
    mean_score,
    seeds_reach,
    sentence,
    signed_rank,
    spread,
)
from simcvd.types import SimcvdError


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_spread_over_seeds_by_hand() -> None:
    # deviations from the mean 4 are -2, 0, 2: variance 8 / (3 - 1) = 4
    result = spread([2.0, 4.0, 6.0])
    assert (result.mean, result.std, result.seeds) == (4.0, 2.0, 3)
    assert math.isnan(spread([5.0]).std)


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04; the last may not fall below .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_signed_rank_by_hand() -> None:
    # 5 scans, all better: of the 2^5 sign patterns this one and its mirror are as extreme
    assert signed_rank(np.array([1.0, 2, 3, 4, 5]))[0] == pytest.approx(2 / 32)
    # ranks 1..4 with only rank 1 negative: W = 1, reached by {} and {1}: 2 * 2 / 2^4
    assert signed_rank(np.array([-1.0, 2, 3, 4]))[0] == pytest.approx(4 / 16)
    assert signed_rank(np.zeros(6)) == (1.0, 0)


def test_seeds_reach_is_welchs_interval() -> None:
    a, b = [80.1, 80.9, 79.6], [82.0, 83.5, 81.1]
    interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert seeds_reach(a, b, noise=9) == pytest.approx((interval.high - interval.low) / 2)
    assert seeds_reach([80.0], [82.0], noise=1.0) == 1.0
    # 82, 83, 84: deviation 1, t of 2 degrees of freedom 4.303, sqrt(1 + 1/3) = 1.155
    assert seeds_reach([80.0], [82.0, 83.0, 84.0], noise=1.0) == pytest.approx(4.968, abs=0.001)
    assert seeds_reach([82.0, 83.0, 84.0], [80.0], noise=6.0) == 6.0
    assert seeds_reach([80.0, 80.0], [81.0, 81.0], noise=1.0) == 1.0


def test_interval_is_scipys_percentile_bootstrap() -> None:
    rng = np.random.default_rng(0)
    control = rng.normal(80, 5, (40, 1))
    other = control + rng.normal(1, 2, (40, 1))
    ours = compare([control], [other])
    theirs = stats.bootstrap(
        ((other - control)[:, 0],), np.mean, method="percentile", n_resamples=20000, rng=1
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.05)
    assert ours.mean == pytest.approx((other - control).mean())
    assert ours.p == pytest.approx(stats.wilcoxon(other[:, 0], control[:, 0]).pvalue)


def test_seeds_are_averaged_for_each_scan_first() -> None:
    # by scan: control 1, 2, 3 (mean of its seeds), other 3, 3, 3: differences 2, 1, 0
    control = [column(0, 1, 2), column(2, 3, 4)]
    other = [column(2, 3, 4), column(4, 3, 2)]
    result = compare(control, other)
    assert result.mean == pytest.approx(1.0)
    assert (result.scans, result.seeds) == (3, (2, 2))
    assert result.p == pytest.approx(stats.wilcoxon([2.0, 1.0, 0.0]).pvalue)


def test_interval_narrows_with_scans_and_not_with_seeds() -> None:
    rng = np.random.default_rng(3)
    difference = rng.normal(1, 2, (20, 1))
    zero = np.zeros((20, 1))
    once, thrice = compare([zero], [difference]), compare([zero] * 3, [difference] * 3)
    many = compare([np.zeros((80, 1))], [np.tile(difference, (4, 1))])
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    assert (many.high - many.low) == pytest.approx((once.high - once.low) / 2, rel=0.1)


def test_classes_weigh_alike_and_undefined_ones_are_left_out() -> None:
    # class 1: mean of 1, 3; class 2: only 4. (2 + 4) / 2
    table = np.array([[1.0, 4.0], [3.0, math.nan]])
    assert mean_score(table) == 3.0
    nothing = np.full((2, 1), math.nan)
    assert math.isnan(mean_score(nothing))
    result = compare([column(1, 2, 3)], [column(2, math.nan, 4)])
    assert (result.mean, result.scans, result.left_out) == (1.0, 2, 1)


def _twenty(gap: float, *, noise: float = 0.0, better: bool = True) -> Comparison:
    rng = np.random.default_rng(1)
    control = rng.normal(80, 5, (20, 1))
    other = control + gap + rng.normal(0, 0.3, (20, 1))
    return compare([control], [other], noise=noise, higher_is_better=better)


def test_verdicts() -> None:
    assert _twenty(2.0).verdict == "better"
    assert _twenty(-2.0).verdict == "worse"
    assert _twenty(2.0, better=False).verdict == "worse"  # a distance that grew
    assert _twenty(0.0).verdict == "cannot be told"


def test_a_gap_within_the_seeds_noise_is_never_claimed() -> None:
    small = _twenty(0.7, noise=1.0)
    assert small.low > 0  # all scans agree, and still one training each proves nothing
    assert small.doubts == ["seeds alone can differ as much"]


def test_two_scans_cannot_tell() -> None:
    result = compare([column(1, 1)], [column(5, 6)])
    assert result.verdict == "cannot be told"
    assert result.p == 0.5  # of four sign patterns two are as extreme


def test_sentence_says_all_there_is_to_know() -> None:
    text = sentence("DTC", "V-Net", _twenty(2.0, noise=1.0), what="Dice")
    assert text.startswith("DTC is better than V-Net: +1.99 Dice, 95 % interval +")
    assert "over 20 scans" in text
    assert "one training each, whose seeds alone reach 1.00" in text
    assert "after Holm" in text
    doubtful = sentence("DTC", "V-Net", _twenty(0.0), what="Dice")
    assert doubtful.startswith("DTC cannot be told from V-Net (the interval contains 0; p is not")


def test_other_scans_are_refused() -> None:
    with pytest.raises(SimcvdError, match="cannot be paired"):
        compare([np.zeros((3, 1))], [np.zeros((4, 1))])


def test_signed_rank_with_zeros_and_ties_by_hand() -> None:
    # zeros are dropped: as in `test_signed_rank_by_hand`
    assert signed_rank(np.array([0.0, -1, 2, 0, 3, 4]))[0] == pytest.approx(4 / 16)
    # |-1| = |1|: ranks 1.5, 1.5, 3, 4; W = 1.5 or less: {}, {1.5}, {1.5}: 2 * 3 / 2^4
    assert signed_rank(np.array([-1.0, 1, 3, 4]))[0] == pytest.approx(6 / 16)
    # 0.1 + 0.2 - 0.3 is 5.6e-17, and no difference; 0.3 and 0.1 + 0.2 are a tie
    parted = np.array([0.1 + 0.2 - 0.3, -0.3, 0.1 + 0.2, 0.5, 0.6])
    assert signed_rank(parted)[0] == pytest.approx(6 / 16)


def test_a_table_is_corrected_as_a_whole() -> None:
    one = _twenty(2.0)
    weak = compare([column(1, 2, 3, 4, 5)], [column(2, 4, 6, 8, 10)])
    corrected = correct([one, weak])
    assert [c.p_holm for c in corrected] == pytest.approx([2 * one.p, weak.p])
    assert [c.p for c in corrected] == [one.p, weak.p]
    assert correct([]) == []


def test_a_few_rescued_scans_against_many_slightly_worse_cannot_be_told() -> None:
    # 54 scans lose 0.10 to 0.20 points and 6 gain 50: the ranks of the losses, 1 to 54, sum to
    # 1485 and those of the gains to 345, so Wilcoxon's test says worse where the mean says better.
    difference = np.concatenate([-np.linspace(0.001, 0.002, 54), np.full(6, 0.5)])[:, None]
    found = compare([np.zeros_like(difference)], [difference], noise=0.01)
    assert found.mean == pytest.approx((6 * 0.5 - 54 * 0.0015) / 60)
    assert found.low > 0
    assert found.p < 0.001
    assert found.side == -1
    assert found.verdict == "cannot be told"
    assert found.doubts == ["the ranks lean the other way than the mean"]
