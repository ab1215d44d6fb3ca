"""Which scans are taken, against brute force and by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from simcvd.active.looking import Seen
from simcvd.active.picking import STRATEGIES, By, needs_of, pick
from simcvd.types import SimcvdError


def seen(x: float, y: float = 0.0, *, unsure: float = 0.0, folds: float | None = 0.0) -> Seen:
    return Seen(uncertainty=unsure, found=1, features=(x, y), disagreement=folds)


def order(unlabeled: list[Seen], labeled: list[Seen], by: By, count: int) -> list[int]:
    return [one.index for one in pick(unlabeled, labeled, by, count)]


def radius(points: np.ndarray, centres: np.ndarray) -> float:
    """How far the worst point lies from its nearest centre: what k-centre makes small."""
    return float(np.linalg.norm(points[:, None] - centres, axis=2).min(1).max())


@pytest.mark.parametrize("seed", range(20))
def test_distance_is_greedy_and_at_most_twice_as_far_as_the_best_of_all_choices(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(9, 2))
    labeled, rest = points[:2], points[2:]
    taken = order([seen(*p) for p in rest], [seen(*p) for p in labeled], "distance", 3)
    here, slow = labeled, []
    for _ in range(3):
        far = [min(np.linalg.norm(p - q) for q in here) for p in rest]
        slow.append(int(np.argmax(far)))
        here = np.vstack([here, rest[slow[-1]]])
    assert taken == slow
    best = min(
        radius(points, np.vstack([labeled, rest[list(chosen)]]))
        for chosen in combinations(range(7), 3)
    )
    assert best <= radius(points, here) <= 2 * best


def test_five_scans_are_not_five_times_the_same() -> None:
    twins = [seen(10 + 0.01 * i) for i in range(5)]
    assert order([*twins, seen(-6), seen(3)], [seen(0)], "distance", 3) == [4, 5, 6]


def test_uncertainty_and_disagreement_take_the_highest_and_of_equals_the_first() -> None:
    values = [(0.1, 0.2), (0.3, 0.0), (0.3, 0.2), (0.1, 0.2)]
    scans = [seen(i, unsure=unsure, folds=folds) for i, (unsure, folds) in enumerate(values)]
    assert order(scans, [seen(0)], "uncertainty", 9) == [1, 2, 0, 3]
    assert order(scans, [seen(0)], "disagreement", 2) == [0, 2]


def test_the_mix_is_the_mean_rank_with_the_distance_as_it_then_is() -> None:
    scans = [
        seen(9, unsure=0.9, folds=0.3),  # ranks 3, 2, 3: mean 8/9
        seen(8, unsure=0.5, folds=0.4),  # ranks 2, 3, 2: mean 7/9
        seen(1, unsure=0.1, folds=0.1),
    ]
    np.testing.assert_allclose(needs_of(scans, [seen(0)]).by("mix"), [8 / 9, 7 / 9, 3 / 9])
    assert order(scans, [seen(0)], "mix", 3) == [0, 1, 2]
    # Once the first is taken, its twin lies nearest of all to a labelled scan.
    twins = [seen(9, unsure=0.9), seen(9, unsure=0.8), seen(5, unsure=0.7), seen(0.1)]
    assert order(twins, [seen(0)], "uncertainty", 2) == [0, 1]
    assert order(twins, [seen(0)], "mix", 2) == [0, 2]


def test_places_say_how_many_of_all_are_needed_more() -> None:
    scans = [seen(1, unsure=0.3), seen(7, unsure=0.9), seen(6, unsure=0.5)]
    first, second = pick(scans, [seen(0)], "uncertainty", 2)
    assert first.places == {"uncertainty": 1, "distance": 1, "disagreement": 1}
    assert second.places == {"uncertainty": 2, "distance": 1, "disagreement": 1}


def test_without_two_folds_the_mix_goes_without_and_disagreement_is_refused() -> None:
    scans = [seen(3, unsure=0.1, folds=None), seen(2, unsure=0.8, folds=None)]
    assert order(scans, [seen(0), seen(4)], "mix", 1) == [1]
    with pytest.raises(SimcvdError, match="two folds or more"):
        pick(scans, [seen(0)], "disagreement", 1)


def test_without_features_the_mix_goes_without_and_distance_is_refused() -> None:
    scans = [replace(seen(0, unsure=u, folds=0.1), features=()) for u in (0.1, 0.8)]
    assert order(scans, [scans[0]], "mix", 2) == [1, 0]
    with pytest.raises(SimcvdError, match="gives its deepest map"):
        pick(scans, [scans[0]], "distance", 1)


@pytest.mark.parametrize("by", STRATEGIES)
def test_nothing_left_and_nothing_labelled_are_no_errors(by: By) -> None:
    assert pick([], [seen(0)], by, 3) == []
    assert order([seen(1), seen(2)], [], by, 3) == [0, 1]
