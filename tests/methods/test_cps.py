"""What is particular to cross pseudo supervision."""

from __future__ import annotations

from math import log

import pytest
import torch
from tests.methods.stubs import END, START, TASK, Fixed, batch, build, trained_by

from simcvd.methods.cps import Config, CrossPseudoSupervision


def test_the_two_networks_start_apart() -> None:
    torch.manual_seed(0)
    method = CrossPseudoSupervision(Config(), TASK, build)
    first, second = method.network.class_head.weight, method.second.class_head.weight
    assert not torch.equal(first, second)


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
