"""Readings of Eqs. (2) and (3) against slow loops, and the levels they are held against."""

from __future__ import annotations

from itertools import combinations
from math import exp, log

import pytest
import torch
from torch import Tensor

from simcvd.losses import contrastive
from simcvd.losses.contrastive import attraction, boundary_contrast, contrast_levels, info_nce

TAU = 0.5


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _cosine(a: Tensor, b: Tensor) -> float:
    return (torch.dot(a, b) / (a.norm() * b.norm())).item()


def test_labelled_slices_are_negatives_and_no_positives() -> None:
    h_t, h_s = torch.randn(5, 4), torch.randn(5, 4)
    total = 0.0
    for j in (2, 3, 4):
        for a, b in ((h_t, h_s), (h_s, h_t)):
            terms = [exp(_cosine(a[j], b[n]) / TAU) for n in range(5)]
            total -= log(terms[j] / sum(terms))
    loss = boundary_contrast(h_t, h_s, TAU, labeled=2)
    assert loss.item() == pytest.approx(total / 3, rel=1e-5)


def test_scaled_products_are_divided_by_the_root_of_their_length() -> None:
    h, others = 3 * torch.randn(3, 16), 3 * torch.randn(3, 16)
    loss = info_nce(h, others, TAU, vectors="scaled")
    for j in range(3):
        products = [torch.dot(h[j], others[n]).item() / 4 / TAU for n in range(3)]
        expected = log(sum(map(exp, products))) - products[j]
        assert loss[j].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_drawn_negatives_are_any_two_of_the_others_and_never_the_positive() -> None:
    h, others = torch.randn(1, 4), torch.randn(5, 4)
    terms = [exp(_cosine(h[0], others[n]) / TAU) for n in range(5)]  # the last is the positive
    possible = sorted(
        -log(terms[4] / (terms[4] + terms[a] + terms[b])) for a, b in combinations(range(4), 2)
    )
    losses = sorted({round(info_nce(h, others, TAU, drawn=2).item(), 5) for _ in range(100)})
    assert losses == pytest.approx(possible, abs=1e-5)


def test_each_row_draws_for_itself() -> None:
    h, others = torch.randn(1, 4).expand(64, 4), torch.randn(64, 4)
    others[:] = others[:3].repeat(22, 1)[:64]
    losses = info_nce(h, others, TAU, drawn=1)
    assert len(losses.round(decimals=4).unique()) > 3


def test_more_drawn_than_there_are_takes_all() -> None:
    h_t, h_s = torch.randn(6, 4), torch.randn(6, 4)
    everything = boundary_contrast(h_t, h_s, TAU, drawn=100)
    torch.testing.assert_close(everything, boundary_contrast(h_t, h_s, TAU))


def test_of_equal_vectors_drawn_ones_are_the_log_of_their_number() -> None:
    loss = boundary_contrast(torch.ones(20, 8), torch.ones(20, 8), TAU, drawn=7)
    assert loss.item() == pytest.approx(2 * log(8), rel=1e-5)


def test_attraction_of_a_worked_pair() -> None:
    # Unit vectors (1, 0) and (3/5, 4/5): -2 (3/5) / (1/2).
    loss = attraction(torch.tensor([[5.0, 0.0]]), torch.tensor([[3.0, 4.0]]), TAU)
    assert loss.item() == pytest.approx(-2.4)


def test_pulled_rows_get_the_gradient_of_the_attraction_and_add_no_value() -> None:
    h_t, h_s = torch.randn(6, 4), torch.randn(6, 4).requires_grad_()
    pulled = h_s.detach().clone().requires_grad_()
    plain = boundary_contrast(h_t, h_s, TAU, labeled=2)
    loss = boundary_contrast(h_t, h_s, TAU, labeled=2, pulled=pulled)
    assert torch.equal(loss, plain)
    (whole,) = torch.autograd.grad(plain, h_s)
    rows, pull = torch.autograd.grad(loss, (h_s, pulled))
    torch.testing.assert_close(rows, whole)
    (alone,) = torch.autograd.grad(attraction(h_t[2:], pulled[2:], TAU), pulled)
    torch.testing.assert_close(pull, alone)
    assert not pull[:2].any()


def test_levels_of_the_left_atrium_and_of_half_its_resolution() -> None:
    # 160 slices: chance 2 log 160; floor 2 log(1 + 159 exp(-160 / 159 / 0.5)).
    whole, half = contrast_levels(160, TAU), contrast_levels(96, TAU)
    assert whole["contrast_chance"] == pytest.approx(10.1503, abs=1e-4)
    assert whole["contrast_floor"] == pytest.approx(6.2046, abs=1e-4)
    assert half["contrast_chance"] == pytest.approx(9.1287, abs=1e-4)
    assert half["contrast_floor"] == pytest.approx(5.2186, abs=1e-4)


def test_a_simplex_stands_on_the_floor() -> None:
    corners = torch.eye(5) - 1 / 5  # centred: every cosine between two is -1/4
    floor = contrast_levels(5, TAU)["contrast_floor"]
    assert boundary_contrast(corners, corners, TAU).item() == pytest.approx(floor, rel=1e-5)
    expected = 2 * log(1 + 4 * exp(-1.25 / 0.5))
    assert floor == pytest.approx(expected)


@pytest.mark.parametrize("labeled", [0, 2])
def test_nothing_learnt_falls_below_the_floor(labeled: int) -> None:
    h_t, h_s = torch.randn(6, 8).requires_grad_(), torch.randn(6, 8).requires_grad_()
    optimizer = torch.optim.Adam([h_t, h_s], lr=0.1)
    for _ in range(200):
        loss = boundary_contrast(h_t, h_s, TAU, labeled=labeled)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    floor = contrast_levels(6, TAU, labeled=labeled)["contrast_floor"]
    assert floor - 1e-5 <= loss.item()
    if not labeled:  # with labelled slices, which cannot lie opposite to all, it is not reached
        assert loss.item() == pytest.approx(floor, rel=1e-3)


def test_one_slice_between_opposite_labelled_ones() -> None:
    one = torch.tensor([[-1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    floor = contrast_levels(3, TAU, labeled=2)["contrast_floor"]
    assert floor == pytest.approx(2 * log(1 + 2 * exp(-4)))
    assert boundary_contrast(one, one, TAU, labeled=2).item() == pytest.approx(floor, rel=1e-5)


def test_drawn_ones_have_the_chance_of_their_number_and_stand_on_their_floor_on_average() -> None:
    levels = contrast_levels(6, TAU, drawn=2)
    assert levels["contrast_chance"] == pytest.approx(2 * log(3))
    corners = torch.eye(6) - 1 / 6
    loss = boundary_contrast(corners, corners, TAU, drawn=2)
    assert loss.item() == pytest.approx(levels["contrast_floor"], rel=1e-5)


def test_scaled_vectors_have_no_floor() -> None:
    assert set(contrast_levels(8, TAU, vectors="scaled")) == {"contrast_chance"}


def test_levels_count_the_slices_of_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "processes", lambda: 2)
    assert contrast_levels(8, TAU)["contrast_chance"] == pytest.approx(2 * log(16))
