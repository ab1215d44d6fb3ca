"""What is particular to cross pseudo supervision."""

from __future__ import annotations

from math import log

import pytest
import torch
from tests.methods.stubs import END, START, TASK, Fixed, batch, build, trained_by

from simcvd.methods.cps import Config, CrossPseudoSupervision


def test_one_network_starts_from_he_and_one_from_glorot() -> None:
    torch.manual_seed(0)
    method = CrossPseudoSupervision(Config(), TASK, build)
    first, second = (n.encoder[2][0].weight for n in (method.network, method.second))
    # 8 to 8 channels of 27 taps: variances 2 / 216 and 2 / (216 + 216). Of 1,728 normal numbers
    # the deviation is known to 1.7 %.
    assert first.std().item() == pytest.approx((2 / 216) ** 0.5, rel=0.06)
    assert second.std().item() == pytest.approx((2 / 432) ** 0.5, rel=0.06)


def test_up_sampling_starts_as_torch_has_it() -> None:
    torch.manual_seed(0)
    method = CrossPseudoSupervision(Config(), TASK, build)
    for network in (method.network, method.second):
        weight = network.up[1][0].weight  # 8 to 4 channels of 8 taps: uniform within 1 / sqrt(32)
        assert 0.9 < weight.abs().max().item() * 32**0.5 <= 1


def test_each_learns_the_others_hard_label() -> None:
    method = CrossPseudoSupervision(Config(), TASK, build)
    # The first is for class 1 by 3 to 1, the second for class 0 by 7 to 1. The first pays
    # -log 1/4 for the second's label, the second -log 1/8 for the first's.
    method.network, method.second = Fixed([0.0, log(3)]), Fixed([log(7), 0.0])
    assert method(batch(), START)["cross"].item() == pytest.approx(log(4) + log(8))


def test_agreement_costs_only_the_doubt_left() -> None:
    method = CrossPseudoSupervision(Config(), TASK, build)
    method.network, method.second = Fixed([0.0, log(3)]), Fixed([0.0, log(3)])
    assert method(batch(), START)["cross"].item() == pytest.approx(2 * log(4 / 3))


def test_each_network_learns_the_labels_by_a_term_of_its_own() -> None:
    torch.manual_seed(0)
    method = CrossPseudoSupervision(Config(), TASK, build)
    terms = method(batch(), START)
    assert {name.split(".")[0] for name in trained_by(terms["seg"], method)} == {"network"}
    assert {name.split(".")[0] for name in trained_by(terms["seg_second"], method)} == {"second"}
    assert method.weights(END) == {"seg": 1.0, "seg_second": 1.0, "cross": 0.1}
