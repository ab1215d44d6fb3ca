"""The critic's and its opponent's terms, on numbers worked by hand."""

from __future__ import annotations

from math import log

import pytest
import torch

from simcvd.losses.adversarial import discrimination, fooling

# Scores of "unlabelled" and "labelled": odds of 3 to 1 for labelled, and 3 to 1 against.
FOR, AGAINST = [0.0, log(3)], [log(3), 0.0]


def test_fooling_is_the_log_of_the_odds_of_passing_for_labelled() -> None:
    # (-log 3/4 - log 1/4) / 2
    expected = (log(4 / 3) + log(4)) / 2
    assert fooling(torch.tensor([FOR, AGAINST])).item() == pytest.approx(expected)


def test_discrimination_knows_which_are_labelled() -> None:
    right = discrimination(torch.tensor([FOR, AGAINST, AGAINST]), labeled=1)
    wrong = discrimination(torch.tensor([AGAINST, FOR, FOR]), labeled=1)
    assert right.item() == pytest.approx(log(4 / 3))
    assert wrong.item() == pytest.approx(log(4))


def test_an_undecided_critic_stands_at_log_2() -> None:
    assert discrimination(torch.zeros(4, 2), labeled=2).item() == pytest.approx(log(2))
