"""How labelled scans are divided, and what is said of the comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simcvd.pipeline.compare import CONTROL, SIMCVD, answer, better
from simcvd.pipeline.presets import FULL, QUICK, STANDARD, Preset, divide
from simcvd.report.results import Result
from simcvd.types import SimcvdError


@pytest.mark.parametrize(
    ("labeled", "preset", "expected"),
    [
        (2, FULL, (2, 1, 1)),  # count, held out, trained on
        (12, QUICK, (2, 6, 6)),
        (13, STANDARD, (3, 4, 9)),
        (12, FULL, (5, 2, 10)),
        (39, FULL, (5, 7, 32)),
        (40, FULL, (1, 10, 30)),
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


def _result(name: str, dice: list[float]) -> Result:
    return Result(
        name=name,
        summary={"means": {"dice": {"mean": float(np.mean(dice))}}},
        cases=tuple(f"case{i}" for i in range(len(dice))),
        dice=np.array(dice)[:, None],
        log=[],
        predictions=Path(),
    )


WITHOUT = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85]


@pytest.mark.parametrize(
    ("gains", "begins", "winner"),
    [
        (
            [0.1] * 8,
            "The unlabelled scans helped: mean Dice 77.5 % with them (SimCVD) and 67.5 % without "
            "(supervised), +10.0 points, 95 % interval +10.0 to +10.0 over 8 held-out labelled "
            "scans, p = 0.0078.",
            SIMCVD,
        ),
        ([-0.1] * 8, "The unlabelled scans did harm: mean Dice 57.5 % with", CONTROL),
        (
            [0.1] * 5,
            "Whether the unlabelled scans helped cannot be told (p is not below 0.05): ",
            SIMCVD,
        ),
        ([0.0] * 8, "Whether the unlabelled scans helped cannot be told (the interval", CONTROL),
        ([0.1], "Whether the unlabelled scans helped cannot be told", SIMCVD),
    ],
)
def test_the_answer_follows_from_the_numbers(gains: list[float], begins: str, winner: str) -> None:
    without = WITHOUT[: len(gains)]
    control = _result("V-Net", without)
    simcvd = _result("SimCVD", [a + b for a, b in zip(without, gains, strict=True)])
    assert answer(control, simcvd).startswith(begins)
    assert better(control, simcvd) == winner
