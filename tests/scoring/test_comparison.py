"""The rule of verdicts held against scipy, against numbers worked out by hand, and simulated."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from simcvd.scoring.comparison import Comparison, compare, compare_folds, correct, holm, spread
from simcvd.scoring.gap import Gap, combined, mean_score, over_trainings
from simcvd.scoring.hardest import hardest_quarter
from simcvd.scoring.words import sentence
from simcvd.types import SimcvdError


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


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


def test_the_parts_of_a_difference_by_hand() -> None:
    # Trainings of the control have means 1, 2, 3: variance 1 / 3. Of the other 4, 4, 7: 3 / 3.
    # By scan, over seeds: control 1, 2, 3 (mean 2); other 3, 5, 7 (mean 5); differences 2, 3, 4:
    # variance 1 / 3. Freedom (1/3 + 1 + 1/3)^2 / ((1/9 + 1 + 1/9) / 2) = 25/9 / (11/18) = 50/11.
    control = [column(0, 1, 2), column(1, 2, 3), column(2, 3, 4)]
    other = [column(2, 4, 6), column(2, 4, 6), column(5, 7, 9)]
    gap = compare(control, other).gap
    assert (gap.mean, gap.scans) == (3.0, 3)
    assert gap.error == pytest.approx(math.sqrt(5 / 3))
    assert gap.freedom == pytest.approx(50 / 11)
    t = stats.t(50 / 11)
    assert gap.p == pytest.approx(2 * t.sf(3 / math.sqrt(5 / 3)))
    assert (gap.low, gap.high) == pytest.approx(
        stats.t.interval(0.95, 50 / 11, 3, math.sqrt(5 / 3))
    )


def test_trainings_alone_give_welchs_test() -> None:
    a, b = [80.1, 80.9, 79.6], [82.0, 83.5, 81.1, 83.0]
    gap = combined(np.mean(b) - np.mean(a), [over_trainings(a), over_trainings(b)], 1)
    welch = stats.ttest_ind(b, a, equal_var=False)
    assert gap.p == pytest.approx(welch.pvalue)
    assert (gap.low, gap.high) == pytest.approx(tuple(welch.confidence_interval(0.95)))


def test_two_trainings_have_the_freedom_of_students_test() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(80, 3, (4, 60, 1))
    assert compare(list(table[:2]), list(table[2:])).gap.freedom <= 2
    assert compare([*table[:2]] * 2, [*table[2:]] * 2).gap.freedom > 2


def test_folds_are_students_paired_test() -> None:
    control = [column(1, 2), column(3, 4), column(5, 6)]
    other = [column(2, 3), column(4, 7), column(5, 8)]  # by fold: +1, +2, +1
    found = compare_folds(control, other)
    assert found.gap.mean == pytest.approx(4 / 3)
    assert found.gap.p == pytest.approx(stats.ttest_1samp([1, 2, 1], 0).pvalue)
    assert (found.trainings, found.gap.scans, found.verdict) == ((3, 3), 6, "inconclusive")
    assert compare_folds(control[:1], other[:1]).verdict == "no verdict"
    with pytest.raises(SimcvdError, match="cannot be paired"):
        compare_folds(control, other[:2])


def test_classes_weigh_alike_and_undefined_ones_are_left_out() -> None:
    # class 1: mean of 1, 3; class 2: only 4. (2 + 4) / 2
    table = np.array([[1.0, 4.0], [3.0, math.nan]])
    assert mean_score(table) == 3.0
    nothing = np.full((2, 1), math.nan)
    assert math.isnan(mean_score(nothing))
    result = compare([column(1, 2, 3)], [column(2, math.nan, 4)])
    assert (result.gap.mean, result.gap.scans, result.left_out) == (1.0, 2, 1)


def test_scans_with_undefined_classes_count_by_their_influence() -> None:
    # The error over scans is that of resampling whole scans, here with a class that half lack.
    rng = np.random.default_rng(2)
    difference = rng.normal(0, 2, (40, 2))
    difference[::2, 1] = math.nan
    same = [np.zeros_like(difference)] * 2
    ours = compare(same, [difference] * 2).gap.error  # seeds agree, so that only scans are left
    draws = rng.integers(0, 40, (4000, 40))
    theirs = np.std([np.nanmean(np.nanmean(difference[draw], axis=0)) for draw in draws])
    assert ours == pytest.approx(theirs, rel=0.05)


def _trainings(gain: float, *, better: bool = True, seeds: int = 5) -> Comparison:
    rng = np.random.default_rng(1)
    scans = rng.normal(80, 5, (20, 1))
    control, other = (
        [scans + shift + rng.normal(0, 0.3) + rng.normal(0, 0.5, (20, 1)) for _ in range(seeds)]
        for shift in (0.0, gain)
    )
    return compare(control, other, higher_is_better=better)


def test_verdicts() -> None:
    assert _trainings(2.0).verdict == "better"
    assert _trainings(-2.0).verdict == "worse"
    assert _trainings(2.0, better=False).verdict == "worse"  # a distance that grew
    assert _trainings(0.0).verdict == "inconclusive"


@pytest.mark.parametrize("seeds", [(1, 1), (1, 3), (3, 1)])
def test_a_single_training_has_no_verdict(seeds: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    control, other = (
        [rng.normal(mean, 0.1, (20, 1)) for _ in range(count)]
        for count, mean in zip(seeds, (70, 90), strict=True)
    )
    found = compare(control, other)
    assert found.verdict == "no verdict"
    assert math.isnan(found.gap.p)
    assert math.isnan(found.gap.low)
    assert found.gap.mean == pytest.approx(20, abs=0.2)


def test_a_single_scan_has_no_verdict() -> None:
    found = compare([column(1), column(1.1)], [column(5), column(5.2)])
    assert found.verdict == "no verdict"
    assert "no verdict from a single scan" in sentence("A", "B", found, what="Dice")


def test_a_table_is_corrected_as_a_whole_and_without_single_trainings() -> None:
    strong, weak = _trainings(2.0), _trainings(0.3)
    alone = compare([column(1, 2, 3)], [column(2, 4, 6)])
    corrected = correct([strong, alone, weak])
    assert [c.p_holm for c in corrected[::2]] == pytest.approx([2 * strong.gap.p, weak.gap.p])
    assert [c.tests for c in corrected] == [2, 1, 2]
    assert corrected[1] == alone or corrected[1].verdict == "no verdict"
    assert correct([]) == []


@pytest.mark.parametrize(("freedom", "tests"), [(2.0, 1), (5.5, 1), (5.5, 9), (19.0, 9)])
def test_what_could_have_been_seen_is_found_in_four_of_five(freedom: float, tests: int) -> None:
    seen = Gap(mean=0.0, error=1.0, freedom=freedom, scans=20).detectable(tests)
    critical = stats.t.isf(0.025 / tests, freedom)
    assert stats.nct.sf(critical, freedom, seen) == pytest.approx(0.8, abs=0.002)


def test_sentences_say_all_there_is_to_know() -> None:
    text = sentence("DTC", "V-Net", _trainings(2.0), what="Dice")
    assert text.startswith("DTC is better than V-Net: +")
    assert "over 20 scans and 5 trainings each, p = " in text
    assert "On the hardest quarter, 5 scans: +" in text
    doubtful = correct([_trainings(0.0), _trainings(0.1)])[0]
    words = sentence("DTC", "V-Net", doubtful, what="Dice")
    assert words.startswith("DTC against V-Net is inconclusive: ")
    assert "after Holm for 2 comparisons" in words
    assert f"detectable with 80 % power: {doubtful.detectable:.2f} Dice" in words
    alone = sentence("A", "B", compare([column(1, 2)], [column(5, 7)]), what="Dice")
    assert alone == (
        "A against B: +4.50 Dice over 2 scans and one training each; no verdict from a single "
        "training."
    )


def test_other_scans_are_refused() -> None:
    with pytest.raises(SimcvdError, match="cannot be paired"):
        compare([np.zeros((3, 1))], [np.zeros((4, 1))])


def test_the_hardest_quarter_by_hand() -> None:
    # 8 scans, so 2. The first control is worst on scans 0, 1; the second on 2, 3. Each is looked
    # at where the *other* is worst: the first on 2, 3 (60, 64), the second on 0, 1 (70, 74).
    first, second = column(*[40, 41, 60, 64, 80, 80, 80, 80]), column(*[70, 74, 50, 51] + [80] * 4)
    other = column(*[72, 76, 62, 68] + [80] * 4)
    gap = hardest_quarter([first, second], [other, other])
    assert gap is not None
    assert gap.scans == 2
    # other: (62 + 68 + 72 + 76) / 4 = 69.5; control: (62 + 72) / 2 = 67
    assert gap.mean == pytest.approx(2.5)
    assert hardest_quarter([first], [other]) is None
    ranked = hardest_quarter([first], [other], ranking=[second])
    assert ranked is not None
    assert ranked.mean == pytest.approx(65 - 62)
    assert math.isnan(ranked.error)


def test_the_hardest_quarter_does_not_regress_to_the_mean() -> None:
    # Equal systems whose trainings scatter widely over equal scans: by its own ranking the control
    # would seem to lose some 1.27 deviations, the mean of the lowest quarter of a normal.
    rng = np.random.default_rng(4)
    gaps = []
    for _ in range(60):
        control, other = rng.normal(80, 5, (2, 3, 40, 1))
        gaps.append(hardest_quarter(list(control), list(other)))
    assert abs(np.mean([gap.mean for gap in gaps if gap])) < 0.4  # 5 * 1.27 would be 6.4
    inside = [gap.low < 0 < gap.high for gap in gaps if gap]
    assert np.mean(inside) >= 0.9


def _table(rng: np.random.Generator, scans: int, seeds: int) -> list[Comparison]:
    """Ten equal systems; a training deviates by 0.8, a system by 2 and a training by 3 a scan."""
    scores = (
        2 * rng.standard_normal((10, 1, scans))
        + 0.8 * rng.standard_normal((10, seeds, 1))
        + 3 * rng.standard_normal((10, seeds, scans))
    )[..., None]
    return correct([compare(list(scores[0]), list(other)) for other in scores[1:]])


@pytest.mark.parametrize(("scans", "seeds"), [(20, 2), (60, 2), (20, 3), (60, 3), (60, 5)])
def test_tables_of_equal_systems_have_a_false_verdict_in_at_most_5_percent(
    scans: int, seeds: int
) -> None:
    rng = np.random.default_rng([scans, seeds])
    tables = [_table(rng, scans, seeds) for _ in range(100)]
    assert np.mean([any(c.verdict != "inconclusive" for c in t) for t in tables]) <= 0.05
    if seeds == 5:  # and a gain that could have been seen is found
        first = [t[0].gap for t in tables]
        seen = np.mean([gap.detectable() for gap in first])
        found = np.mean([replace(gap, mean=gap.mean + seen).p < 0.05 for gap in first])
        assert 0.7 < found <= 0.98
