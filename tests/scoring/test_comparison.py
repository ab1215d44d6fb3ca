"""The rule of verdicts held against scipy, against numbers worked out by hand, and simulated."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from simcvd.scoring.comparison import (
    Comparison,
    compare,
    compare_folds,
    correct,
    gap_of,
    holm,
    spread,
)
from simcvd.scoring.gap import Gap, mean_score, over_trainings, satterthwaite
from simcvd.scoring.hardest import hardest_quarter
from simcvd.scoring.words import assumed_words, sentence
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
    assert gap.parts[0][1] == pytest.approx(50 / 11)
    t = stats.t(50 / 11)
    assert gap.p == pytest.approx(2 * t.sf(3 / math.sqrt(5 / 3)))
    assert (gap.low, gap.high) == pytest.approx(
        stats.t.interval(0.95, 50 / 11, 3, math.sqrt(5 / 3))
    )


def test_trainings_alone_give_welchs_test() -> None:
    a, b = [80.1, 80.9, 79.6], [82.0, 83.5, 81.1, 83.0]
    part = satterthwaite([over_trainings(a), over_trainings(b)])
    gap = Gap(mean=np.mean(b) - np.mean(a), parts=(part,), scans=1)
    welch = stats.ttest_ind(b, a, equal_var=False)
    assert gap.p == pytest.approx(welch.pvalue)
    assert (gap.low, gap.high) == pytest.approx(tuple(welch.confidence_interval(0.95)))


def test_two_trainings_have_the_freedom_of_students_test() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(80, 3, (4, 60, 1))
    assert compare(list(table[:2]), list(table[2:])).gap.parts[0][1] <= 2
    assert compare([*table[:2]] * 2, [*table[2:]] * 2).gap.parts[0][1] > 2


def test_the_two_parts_of_pairs_by_hand() -> None:
    # The trainings above as pairs: 4 - 1, 4 - 2, 7 - 3, variance 1 / 3; scans 1 / 3 as before.
    # Both have 2 degrees of freedom, so that t = 3 / sqrt(2/3) is Student's.
    control = [column(0, 1, 2), column(1, 2, 3), column(2, 3, 4)]
    other = [column(2, 4, 6), column(2, 4, 6), column(5, 7, 9)]
    found = compare(control, other, paired=True)
    assert found.kind == "pairs"
    assert found.gap.parts == (pytest.approx((1 / 3, 2)), pytest.approx((1 / 3, 2)))
    assert found.gap.p == pytest.approx(2 * stats.t(2).sf(3 / math.sqrt(2 / 3)))
    assert found.gap.high - 3 == pytest.approx(stats.t(2).isf(0.025) * math.sqrt(2 / 3))
    assert "over 3 scans and 3 training pairs, p = " in sentence("A", "B", found, what="Dice")
    with pytest.raises(SimcvdError, match="3 and 2 trainings are no pairs"):
        compare(control, other[:2], paired=True)


def test_each_part_has_its_own_students_t() -> None:
    gap = Gap(mean=2.0, parts=((0.3, 2.0), (0.5, 31.0)), scans=32)
    reach = math.sqrt(0.3 * stats.t(2).isf(0.025) ** 2 + 0.5 * stats.t(31).isf(0.025) ** 2)
    assert (gap.low, gap.high) == pytest.approx((2 - reach, 2 + reach))
    at_p = [stats.t(freedom).isf(gap.p / 2) for freedom in (2, 31)]
    assert 0.3 * at_p[0] ** 2 + 0.5 * at_p[1] ** 2 == pytest.approx(2.0**2)
    assert replace(gap, mean=reach).p == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("mean", "parts", "p"),
    [
        (0.0, ((0.3, 2.0), (0.5, 31.0)), 1.0),
        (1.0, ((0.0, 2.0), (0.0, 31.0)), 0.0),
        (2.0, ((0.0, 2.0), (0.5, 31.0)), 2 * stats.t(31).sf(2 / math.sqrt(0.5))),
        (2.0, ((1e-40, 2.0), (0.5, 31.0)), 2 * stats.t(31).sf(2 / math.sqrt(0.5))),
        (1e9, ((1e-9, 2.0), (1e-3, 1e4)), 0.0),
        (2.0, ((math.nan, 0.0), (0.5, 31.0)), math.nan),
    ],
)
def test_p_at_its_ends(mean: float, parts: tuple[tuple[float, float], ...], p: float) -> None:
    assert Gap(mean=mean, parts=parts, scans=32).p == pytest.approx(p, abs=1e-12, nan_ok=True)


def test_pairs_that_differ_alike_on_all_scans_are_a_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    control = list(rng.normal(80, 5, (4, 20, 1)))
    other = [table + gain for table, gain in zip(control, [1.2, 2.0, 0.7, 1.5], strict=True)]
    gap = compare(control, other, paired=True).gap
    theirs = stats.ttest_rel([t.mean() for t in other], [t.mean() for t in control])
    assert gap.p == pytest.approx(theirs.pvalue)
    assert (gap.low, gap.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert compare(control, other).gap.p > 2 * gap.p  # as if the seeds had nothing in common


def test_pairs_that_gain_alike_leave_the_scans_alone() -> None:
    rng = np.random.default_rng(3)
    control, gains = list(rng.normal(80, 5, (3, 20, 1))), rng.normal(1, 2, (20, 1))
    gap = compare(control, [table + gains for table in control], paired=True).gap
    assert gap.p == pytest.approx(stats.ttest_1samp(gains[:, 0], 0).pvalue)


def test_what_a_pair_has_in_common_cancels() -> None:
    rng = np.random.default_rng(5)
    control, other = rng.normal(80, 1, (2, 3, 20, 1))
    base = rng.normal(0, 4, (3, 1, 1)) + rng.normal(0, 4, (3, 20, 1))

    def moved(paired: bool) -> float:
        gaps = [
            compare(list(control + b), list(other + b), paired=paired).gap for b in (0 * base, base)
        ]
        return gaps[1].error / gaps[0].error

    assert moved(paired=True) == pytest.approx(1)
    assert moved(paired=False) > 2


@pytest.mark.parametrize("pairs", [2, 3, 5])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 1.0])
def test_an_interval_of_two_parts_covers_whatever_their_share(pairs: int, share: float) -> None:
    """Trainings have this share of the variance; Satterthwaite's freedom is wrong at 0.95."""
    rng = np.random.default_rng([pairs, round(100 * share)])
    free = (pairs - 1, 31)
    estimates = rng.chisquare(free, (4000, 2)) / free * (share, 1 - share)
    means = rng.standard_normal(4000)
    gaps = [
        Gap(mean=mean, parts=tuple(zip(row, free, strict=True)), scans=32)
        for mean, row in zip(means, estimates, strict=True)
    ]
    false = np.mean([not gap.low < 0 < gap.high for gap in gaps])
    assert false <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 4000)
    if pairs == 2 and share == 0.95:
        single = [replace(gap, parts=(satterthwaite(gap.parts),)) for gap in gaps]
        assert np.mean([not gap.low < 0 < gap.high for gap in single]) > 0.1


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


def _two_folds(first: list[float], second: list[float]) -> Comparison:
    """Gains of the scans of either fold."""
    nothing = [np.zeros((len(fold), 1)) for fold in (first, second)]
    return compare_folds(nothing, [column(*first), column(*second)])


def test_two_folds_allow_for_trainings_by_hand() -> None:
    # Variances of the folds' means 1/3 and 4/3, a quarter of their sum is 5/12; trainings have
    # half the variance of a scan, so 1 + 3/2 times as much: 25/24. The means, 2 and 4, show 1.
    found = _two_folds([1, 2, 3], [2, 4, 6])
    assert (found.kind, found.gap.mean, found.gap.scans) == ("two folds", 3, 6)
    assert found.gap.parts == (pytest.approx((25 / 24, (25 / 9) / (17 / 18))),)
    assert "assumed that what a training does" in assumed_words(found)
    assert "50 % of the variance" in assumed_words(found)


def test_two_folds_take_no_less_than_their_means_show() -> None:
    # Means 2 and 5: 9/2 over 2 is 9/4, more than the 25/24 above, and no more than chance allows.
    found = _two_folds([1, 2, 3], [3, 5, 7])
    assert (found.kind, found.gap.parts[0][0]) == ("two folds", 9 / 4)


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, 2, 3], [22, 24, 26]), ([2], [4, 6]), ([2, 2], [6, 6])],
    ids=["differ by more than is assumed", "a single scan", "scans that do not vary"],
)
def test_two_folds_may_have_to_be_students_test(first: list[float], second: list[float]) -> None:
    found = _two_folds(first, second)
    means = [float(np.mean(fold)) for fold in (first, second)]
    assert found.kind == "folds"
    assert found.gap.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert "variation from fold to fold" in assumed_words(found)


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


def _trainings(gain: float, *, seeds: int = 5) -> Comparison:
    rng = np.random.default_rng(1)
    scans = rng.normal(80, 5, (20, 1))
    control, other = (
        [scans + shift + rng.normal(0, 0.3) + rng.normal(0, 0.5, (20, 1)) for _ in range(seeds)]
        for shift in (0.0, gain)
    )
    return compare(control, other)


def test_verdicts() -> None:
    assert _trainings(2.0).verdict == "better"
    assert _trainings(-2.0).verdict == "worse"
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
    seen = Gap(mean=0.0, parts=((1.0, freedom),), scans=20).detectable(tests)
    critical = stats.t.isf(0.025 / tests, freedom)
    assert stats.nct.sf(critical, freedom, seen) == pytest.approx(0.8, abs=0.002)


@pytest.mark.parametrize("tests", [1, 9])
def test_what_pairs_could_have_seen_is_found_in_four_of_five(tests: int) -> None:
    variances, free = np.array([0.4, 0.6]), np.array([2, 31])
    parts = tuple(zip(variances, free, strict=True))
    seen = Gap(mean=0.0, parts=parts, scans=32).detectable(tests)
    rng = np.random.default_rng(6)
    estimates = rng.chisquare(free, (40_000, 2)) / free * variances
    reach = np.sqrt(estimates @ stats.t(free).isf(0.025 / tests) ** 2)
    assert np.mean(seen + rng.standard_normal(40_000) > reach) == pytest.approx(0.8, abs=0.01)


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


def test_the_hardest_quarter_of_pairs_by_hand() -> None:
    # Each pair on the two scans on which the other control is worst: 66 - 60 and 66 - 64, mean 4;
    # 72 - 70 and 80 - 74, mean 4 as well, so that only scans are left to vary.
    first, second = column(*[40, 41, 60, 64, 80, 80, 80, 80]), column(*[70, 74, 50, 51] + [80] * 4)
    others = [column(*[0, 0, 66, 66, 0, 0, 0, 0]), column(*[72, 80, 0, 0, 0, 0, 0, 0])]
    gap = hardest_quarter([first, second], others, paired=True)
    assert gap is not None
    assert (gap.mean, gap.scans) == (4.0, 2)
    # Four scans of weight 1/4 with gains 2, 6, 6, 2: (4 * 4 / 16) * 4 / 3, 3 degrees
    assert gap.parts == ((0.0, 1.0), pytest.approx((4 / 3, 3)))


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


def test_the_hardest_quarter_of_pairs_is_not_where_their_common_weights_are_unlucky() -> None:
    # Equal systems; the scans that other seeds' controls find hard are those that the other
    # system's trainings of these seeds do, too, so that unpaired it would seem to lose.
    rng = np.random.default_rng(4)
    gaps: dict[bool, list[Gap | None]] = {True: [], False: []}
    for _ in range(60):
        control, other = rng.normal(80, 5, (3, 40, 1)) + rng.normal(0, 1, (2, 3, 40, 1))
        for paired, found in gaps.items():
            found.append(hardest_quarter(list(control), list(other), paired=paired))
    means = {paired: np.mean([gap.mean for gap in found if gap]) for paired, found in gaps.items()}
    assert abs(means[True]) < 0.2
    assert means[False] < -1
    assert np.mean([gap.low < 0 < gap.high for gap in gaps[True] if gap]) >= 0.9


def _trained(rng: np.random.Generator, systems: int, seeds: int, scans: int) -> np.ndarray:
    """What trainings do: a deviation of 0.8 each, and of 3 a scan."""
    luck = 0.8 * rng.standard_normal((systems, seeds, 1))
    return luck + 3 * rng.standard_normal((systems, seeds, scans))


def _table(
    rng: np.random.Generator, scans: int, seeds: int, *, shared: float = 0.0, paired: bool = False
) -> list[Comparison]:
    """Ten equal systems; each deviates by 2 a scan. shared: of trainings' variance, by seed."""
    scores = (
        2 * rng.standard_normal((10, 1, scans))
        + math.sqrt(1 - shared) * _trained(rng, 10, seeds, scans)
        + math.sqrt(shared) * _trained(rng, 1, seeds, scans)
    )[..., None]
    return correct([_compared(scores[0], other, paired) for other in scores[1:]])


def _compared(control: np.ndarray, other: np.ndarray, paired: bool) -> Comparison:
    gap = gap_of(list(control), list(other), paired=paired)
    return Comparison(gap=gap, left_out=0, trainings=(2, 2), p_holm=gap.p)


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


@pytest.mark.parametrize("shared", [0.0, 0.9])
@pytest.mark.parametrize(("scans", "seeds"), [(60, 2), (20, 3), (60, 3), (60, 5)])
def test_tables_of_equal_pairs_have_a_false_verdict_in_at_most_5_percent(
    scans: int, seeds: int, shared: float
) -> None:
    """Whether their trainings have anything in common or not; if they have, more is found."""
    tables = [
        [
            _table(np.random.default_rng([scans, seeds, k]), scans, seeds, shared=shared, paired=p)
            for k in range(60)
        ]
        for p in (True, False)
    ]
    assert np.mean([any(c.verdict != "inconclusive" for c in t) for t in tables[0]]) <= 0.05
    if shared and seeds > 2:
        seen = [np.mean([table[0].gap.detectable() for table in by_rule]) for by_rule in tables]
        assert seen[0] < 0.8 * seen[1]
