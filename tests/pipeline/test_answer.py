"""How labelled scans are divided, and what is said of the comparison."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from simcvd.pipeline import compare
from simcvd.pipeline import estimate as module
from simcvd.pipeline.compare import PROGRAM_BYTES, at_once, best, differences
from simcvd.pipeline.estimate import Estimate, fitted
from simcvd.pipeline.presets import FULL, QUICK, STANDARD, Folds, Preset, divide
from simcvd.pipeline.verdict import answer, expected, verdict
from simcvd.planning import Plan
from simcvd.report.results import Result
from simcvd.scoring.scores import Mean, Summary
from simcvd.torch_state import threads
from simcvd.types import SimcvdError

PLAN = Plan(
    channels=1,
    classes=2,
    spacing=(1.0, 1.0, 1.0),
    normalization="zscore",
    patch=(16, 16, 16),
    widths=(8, 16),
    blocks=(1, 1),
    strides=((2, 2, 2),),
    recipe="strong",
    base=400,
    iterations=200,
    control_iterations=240,
)


@pytest.mark.parametrize(
    ("labeled", "preset", "expected"),
    [
        (2, FULL, (2, 1, 1)),  # count, held out, trained on
        (12, QUICK, (2, 6, 6)),
        (13, STANDARD, (3, 4, 9)),
        (12, FULL, (5, 2, 10)),
        (39, FULL, (5, 7, 32)),
        (40, FULL, (5, 8, 32)),  # with one fold nothing could ever be said
        (40, QUICK, (2, 20, 20)),
    ],
)
def test_the_folds_of_labelled_scans(
    labeled: int, preset: Preset, expected: tuple[int, int, int]
) -> None:
    folds = divide(labeled, preset)
    assert (folds.count, folds.holdout, folds.trained_on) == expected
    assert folds.compared == expected[0] * expected[1] <= labeled


@pytest.mark.parametrize("labeled", [0, 1])
def test_fewer_than_two_labels_cannot_be_compared(labeled: int) -> None:
    with pytest.raises(SimcvdError, match=f"^{labeled} of the training scans"):
        divide(labeled, QUICK)


WITHOUT = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85]


def _result(name: str, dice: list[float], folds: int) -> Result:
    cases = tuple(f"case{i}" for i in range(len(dice)))
    mean = Mean(mean=float(np.mean(dice)), low=np.nan, high=np.nan, count=len(dice))
    return Result(
        name=name,
        summary=Summary(name="organ", cases=len(dice), missed=0, absent=0, means={"dice": mean}),
        cases=cases,
        dice=np.array(dice)[:, None],
        log=[],
        predictions=Path(),
        folds=tuple(cases[fold::folds] for fold in range(folds)),
    )


@pytest.mark.parametrize(
    ("gains", "begins", "winner"),
    [
        (
            # by fold +9, +10, +11, +10: deviation 0.816 over 2, t = 10 / 0.408 = 24.5, p = 0.00015
            [0.09, 0.1, 0.11, 0.1] * 2,
            "The unlabelled scans helped: mean Dice 77.5 % with them (SimCVD) and 67.5 % without "
            "(V-Net), +10.00 points, 95 % interval +8.70 to +11.30 over 8 scans and 4 folds, "
            "p = 0.00015. Each fold is one training of either",
            1,
        ),
        (
            [-0.09, -0.1, -0.11, -0.1] * 2,
            "The unlabelled scans did harm: mean Dice 57.5 % with",
            0,
        ),
        (
            [0.1, -0.05, 0.1, -0.05] * 2,
            "Whether the unlabelled scans helped is inconclusive: ",
            1,
        ),
        ([0.0] * 8, "Whether the unlabelled scans helped is inconclusive: ", 0),
    ],
)
def test_the_answer_follows_from_the_numbers(gains: list[float], begins: str, winner: int) -> None:
    control = _result("V-Net", WITHOUT, folds=4)
    simcvd = _result("SimCVD", [a + b for a, b in zip(WITHOUT, gains, strict=True)], folds=4)
    assert answer([control, simcvd]).startswith(begins)
    assert best([control, simcvd]) == winner


def test_two_folds_say_what_they_assume() -> None:
    gains = [0.09, 0.1, 0.11, 0.1, 0.09, 0.1, 0.11, 0.1]
    control = _result("V-Net", WITHOUT, folds=2)
    other = _result("SimCVD", [a + b for a, b in zip(WITHOUT, gains, strict=True)], folds=2)
    # Folds of +9, +11, +9, +11 and +10 four times: s^2 = 4 / 3 and 0, a quarter of (1/3 + 0), and
    # as trainings have half of s^2 three times that, 1/4: 3 degrees, 3.182 * 0.5.
    said = answer([control, other])
    assert "+10.00 points, 95 % interval +8.41 to +11.59 over 8 scans and 2 folds, p = " in said
    assert said.endswith(
        "Two folds cannot show how much trainings vary: it is assumed that what a training does to "
        "all scans alike has no more than 50 % of the variance between the scans of a fold."
    )


def _folds(labeled: int, count: int) -> Folds:
    return Folds(labeled=labeled, count=count, holdout=labeled // count)


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ([0.09, 0.1, 0.11, 0.1] * 2, "They helped: Dice is 10.0 points higher with them, beyond"),
        ([-0.09, -0.1, -0.11, -0.1] * 2, "They did harm: Dice is 10.0 points lower with them, be"),
        # by fold +10, -5, +10, -5 points: error sqrt(75) / 2 = 4.33, freedom 3, found in 80 % of
        # repetitions: 4.25 errors, by scipy's noncentral t in the test below.
        (
            [0.1, -0.05] * 4,
            "Inconclusive: with 12 labelled scans only a difference of about 18.4 points or more "
            "could have been detected. More labels would lower that.",
        ),
    ],
)
def test_the_verdict_is_plain(gains: list[float], said: str) -> None:
    control = _result("V-Net", WITHOUT, folds=4)
    other = _result("SimCVD", [a + b for a, b in zip(WITHOUT, gains, strict=True)], folds=4)
    assert verdict([control, other], _folds(12, 4)).startswith(said)


def test_what_is_expected_of_the_final_model_is_what_its_kind_did_on_held_out_scans() -> None:
    result = _result("CutMix", WITHOUT, folds=4)
    mean = replace(result.summary.means["dice"], low=0.6, high=0.75)
    result = replace(result, summary=replace(result.summary, means={"dice": mean}))
    assert expected(result, _folds(8, 4)) == (
        "Expected of the final model on scans like these: mean Dice 67.5 % (95 % interval over "
        "scans 60.0 to 75.0). That is what CutMix reached on the 8 labelled scans that cross-"
        "validation held out, trained on 6 of the 8 labels; the final model has all of them."
    )


def test_time_left_is_counted_from_trainings_of_the_same_title(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A base of 60 s and a method of 120 s: after one fold, as much again."""
    times = iter([0.0, 60.0, 180.0, 180.5])  # the third lay finished already
    monkeypatch.setattr(compare.time, "monotonic", lambda: next(times))
    said: list[str] = []
    tell = compare.counting(said.append, ["base", "CutMix"] * 2)
    for title in ("base", "CutMix") * 2:
        tell(title, ", fold 1 of 2")
    assert said == [
        "training 1 of 4: base, fold 1 of 2",
        "training 2 of 4, 3 min left in all: CutMix, fold 1 of 2",
        "training 3 of 4, 3 min left in all: base, fold 1 of 2",
        "training 4 of 4, 2 min left in all: CutMix, fold 1 of 2",
    ]
    longest = "training 15 of 20, 10.5 h left in all: Supervised V-Net, fold 5 of 5"
    assert max(map(len, [*said, longest])) <= 80


def test_fewer_hours_are_fewer_steps_and_too_few_are_refused() -> None:
    """10 min of fixed parts and 100 of training: an hour leaves half of them."""
    minutes = {"prepare": 4, "train": 80, "score": 3, "final": 20, "predict": 3}
    cost = Estimate(**{name: 60.0 * n for name, n in minutes.items()}, memory=1)
    assert fitted(PLAN, cost, 2) == PLAN
    half = fitted(PLAN, cost, 1)
    assert (half.base, half.iterations, half.control_iterations) == (200, 100, 120)
    assert half.reasons["iterations"] == "50% of those planned, to be done within 1 h."
    with pytest.raises(SimcvdError, match=r"all takes 35 min\. Give --hours 0\.59 or more"):
        fitted(PLAN, cost, 0.5)


def test_folds_are_trained_side_by_side_where_threads_and_memory_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three folds on two threads: one after another on both, 3 / 2 ** 0.7 = 1.85 of a training on
    one, are done before two and then one, 2 of it. Five on four: in pairs on two, 3 / 2 ** 0.7.
    """
    folds = Folds(labeled=6, count=3, holdout=2)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(compare, "is_in_command", lambda: False)
    with threads(8):  # what a script defines is not seen by other processes
        assert at_once(None, folds, PLAN) == 1
    monkeypatch.setattr(compare, "is_in_command", lambda: True)
    for count, number, folds_at_once in (1, 3, 1), (2, 2, 2), (2, 3, 1), (4, 5, 2), (8, 3, 3):
        with threads(count):
            dealt = Folds(labeled=number, count=number, holdout=1)
            assert at_once(None, dealt, PLAN) == folds_at_once
    with threads(8):
        assert [at_once(asked, folds, PLAN) for asked in (1, 2, 9)] == [1, 2, 3]
        one = PROGRAM_BYTES + PLAN.memory_bytes
        for share, folds_at_once in (1.9, 1), (4.1, 2), (1.0, 1):
            monkeypatch.setattr(compare, "all_memory", lambda share=share: int(share * one))
            assert at_once(None, Folds(labeled=2, count=2, holdout=1), PLAN) == folds_at_once


def test_side_by_side_takes_as_long_as_the_turns_that_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step of the control takes 12 s on one thread, one of the method 24 s, a window 1 s."""
    monkeypatch.setattr(
        module,
        "step_seconds",
        lambda plan, name: (12 if name == "supervised" else 24) / torch.get_num_threads(),
    )
    monkeypatch.setattr(module, "window_seconds", lambda plan: 1.0)
    folds = Folds(labeled=6, count=3, holdout=2)
    with threads(4):
        # 640 steps of the control and 200 of the method: 3120 s with four threads, twice with two.
        one, two = (module.estimate(PLAN, "cutmix", folds, [], 1.0, n) for n in (1, 2))
    assert (one.train, one.final) == (3 * 3120, 3120)
    assert (two.train, two.final) == (2 * 6240, 3120)
    assert two.memory == 2 * one.memory


def test_more_side_by_side_than_threads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six folds of 6240 s on one thread each: with two threads three pairs, however many begin."""
    monkeypatch.setattr(module, "step_seconds", lambda plan, name: 12 if name != "cutmix" else 24)
    monkeypatch.setattr(module, "window_seconds", lambda plan: 1.0)
    monkeypatch.setattr(module, "visible_gpus", list)
    folds = Folds(labeled=6, count=6, holdout=1)
    with threads(2):
        taken = [
            module.estimate(PLAN, "cutmix", folds, [], 1.0, at_once).train for at_once in (2, 3, 6)
        ]
    each = 640 * 12 + 200 * 24
    assert taken == [3 * each] * 3


def test_a_single_fold_leaves_it_open() -> None:
    control = _result("V-Net", WITHOUT, folds=1)
    simcvd = _result("SimCVD", [dice + 0.1 for dice in WITHOUT], folds=1)
    assert answer([control, simcvd]) == (
        "Whether the unlabelled scans helped is open: mean Dice 77.5 % with them (SimCVD) and "
        "67.5 % without (V-Net), +10.00 points over 8 scans and 1 fold; no verdict from a single "
        "training."
    )


def test_an_inconclusive_answer_says_what_could_have_been_seen() -> None:
    # by fold +10, -5, +10, -5: error sqrt(75) / 2; held against scipy's noncentral t
    control = _result("V-Net", WITHOUT, folds=4)
    dice = [a + b for a, b in zip(WITHOUT, [0.1, -0.05] * 4, strict=True)]
    said = answer([control, _result("SimCVD", dice, folds=4)])
    seen = float(said.split("80 % power: ")[1].split(" points")[0])
    power = stats.nct.sf(stats.t.isf(0.025, 3), 3, seen / (math.sqrt(75) / 2))
    assert power == pytest.approx(0.8, abs=0.002)


def test_of_three_arms_the_highest_is_kept_and_the_tests_are_corrected_together() -> None:
    """Held-out means 67.5, 72.5 and 77.5: the third; with two tests the smaller p doubles."""
    control = _result("V-Net", WITHOUT, folds=4)
    arms = [
        _result(name, [a + g for a, g in zip(WITHOUT, gains * 2, strict=True)], folds=4)
        for name, gains in (
            ("CutMix", [0.04, 0.06, 0.05, 0.05]),
            ("mean", [0.09, 0.1, 0.11, 0.1]),
        )
    ]
    assert best([control, *arms]) == 2
    alone, together = differences([control, arms[1]])[0], differences([control, *arms])[1]
    assert together.p_holm == pytest.approx(2 * alone.p_holm)
