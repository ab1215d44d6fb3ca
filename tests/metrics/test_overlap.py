"""Overlap: worked numbers, and MedPy on random masks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simcvd.metrics.overlap import dice, jaccard


def test_worked_example() -> None:
    # |P| = 3, |R| = 2, 1 voxel in common: Dice 2 / 5, Jaccard 1 / 4.
    prediction = np.array([1, 1, 1, 0, 0], bool).reshape(5, 1, 1)
    reference = np.array([0, 0, 1, 1, 0], bool).reshape(5, 1, 1)
    assert dice(prediction, reference) == pytest.approx(0.4)
    assert jaccard(prediction, reference) == pytest.approx(0.25)


def test_one_empty_is_zero_and_both_empty_is_undefined() -> None:
    empty, full = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    for metric in (dice, jaccard):
        assert metric(empty, full) == metric(full, empty) == 0
        assert math.isnan(metric(empty, empty))
        assert metric(full, full) == 1


def test_equal_to_medpy() -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    rng = np.random.default_rng(3)
    for density in (0.02, 0.3, 0.9):
        p, r = rng.random((2, 9, 8, 7)) < density
        assert dice(p, r) == pytest.approx(binary.dc(p, r), abs=1e-12)
        assert jaccard(p, r) == pytest.approx(binary.jc(p, r), abs=1e-12)
