"""Eqs. (1) to (6) against slow loops over the paper's own indices, and worked numbers."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from simcvd.losses import contrastive
from simcvd.losses.consistency import consistency
from simcvd.losses.contrastive import boundary_contrast, info_nce, pairwise_distillation
from simcvd.losses.segmentation import cross_entropy, dice, distance_regression, segmentation
from simcvd.schedules import gaussian_ramp, step_decay, warm_decay


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_eq_1_segmentation_is_half_cross_entropy_half_dice() -> None:
    logits, label = torch.randn(2, 3, 3, 2, 2), torch.randint(0, 3, (2, 3, 2, 2))
    q = logits.softmax(1)
    entropy, count = 0.0, label.numel()
    for i in range(2):
        for x in range(3):
            for y in range(2):
                for z in range(2):
                    entropy -= log(q[i, label[i, x, y, z], x, y, z]) / count
    overlaps = []
    for k in (1, 2):
        p, t = q[:, k], (label == k).float()
        both, squares = (p * t).sum(), (p * p).sum() + (t * t).sum()
        overlaps.append(1 - (2 * both + 1e-5) / (squares + 1e-5))
    expected = 0.5 * entropy + 0.5 * sum(overlaps) / 2
    torch.testing.assert_close(segmentation(logits, label), expected.float())


def test_dice_of_a_worked_patch() -> None:
    # Foreground probabilities (1, 1/2, 0, 0) against (1, 1, 0, 0): 2 * 1.5 / (1.25 + 2) = 12/13.
    foreground = torch.tensor([1.0, 0.5, 0.0, 0.0]).view(1, 1, 4, 1, 1)
    label = torch.tensor([1, 1, 0, 0]).view(1, 4, 1, 1)
    loss = dice(torch.cat([1 - foreground, foreground], 1), label)
    assert loss.item() == pytest.approx(1 / 13, abs=1e-5)


def test_dice_of_each_volume_is_the_mean_of_their_losses() -> None:
    # The first volume as above, 1/13; the second all missed, 1: over both at once 1 - 3 / 6.25.
    p = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(2, 1, 4, 1, 1)
    label = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]).view(2, 4, 1, 1)
    q = torch.cat([1 - p, p], 1)
    assert dice(q, label, per_volume=True).item() == pytest.approx((1 / 13 + 1) / 2, abs=1e-5)
    assert dice(q, label).item() == pytest.approx(1 - 3 / 6.25, abs=1e-5)


def test_cross_entropy_of_even_odds_is_log_2() -> None:
    zeros = torch.zeros(1, 2, 2, 2, 2)
    assert cross_entropy(zeros, torch.ones(1, 2, 2, 2).long()).item() == pytest.approx(log(2))


def test_eq_1_distance_term_is_the_mean_square() -> None:
    q, y = torch.rand(2, 1, 2, 2, 2), torch.rand(2, 1, 2, 2, 2)
    assert distance_regression(q, y).item() == pytest.approx(((q - y) ** 2).mean().item())


def test_eq_2_against_the_sum_over_k_and_l() -> None:
    volumes, slices, tau = 2, 3, 0.5
    h_t = torch.randn(volumes, slices, 5)
    h_s = torch.randn(volumes, slices, 5)
    unit_t, unit_s = (h / h.norm(dim=-1, keepdim=True) for h in (h_t, h_s))
    loss = info_nce(h_t.flatten(0, 1), h_s.flatten(0, 1), tau).view(volumes, slices)
    for i in range(volumes):
        for j in range(slices):
            denominator = 0.0
            for k in range(volumes):
                for n in range(slices):
                    denominator += exp(torch.dot(unit_t[i, j], unit_s[k, n]) / tau)
            expected = -log(exp(torch.dot(unit_t[i, j], unit_s[i, j]) / tau) / denominator)
            assert loss[i, j].item() == pytest.approx(expected, rel=1e-5)


def test_eq_3_adds_both_directions_and_averages_over_the_positives() -> None:
    h_t, h_s = torch.randn(6, 5), torch.randn(6, 5)
    loss = boundary_contrast(h_t, h_s, 0.5)
    expected = (info_nce(h_t, h_s, 0.5) + info_nce(h_s, h_t, 0.5)).sum() / 6
    torch.testing.assert_close(loss, expected)


def test_eq_3_with_the_negatives_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    h_t, h_s = torch.randn(6, 5), torch.randn(6, 5)
    whole, halves = boundary_contrast(h_t, h_s, 0.5), []
    for a in (0, 3):  # two processes with half of the slices each

        def gather(rows: torch.Tensor, a: int = a) -> tuple[torch.Tensor, int]:
            return (h_t if torch.equal(rows, h_t[a : a + 3]) else h_s), a

        monkeypatch.setattr(contrastive, "gather_rows", gather)
        halves.append(boundary_contrast(h_t[a : a + 3], h_s[a : a + 3], 0.5))
    torch.testing.assert_close(sum(halves) / 2, whole)


def test_eq_2_of_equal_vectors_is_the_log_of_their_number() -> None:
    # Nothing tells the slices apart: the positive is one of 160 equal candidates.
    assert info_nce(torch.ones(160, 8), torch.ones(160, 8), 0.5).mean().item() == pytest.approx(
        log(160), rel=1e-5
    )


def test_eq_4_against_the_sum_over_j_and_k() -> None:
    v_s, v_t = torch.randn(2, 4, 2, 1, 2), torch.randn(2, 4, 2, 1, 2)
    total = 0.0
    for i in range(2):
        s, t = v_s[i].reshape(4, -1).T, v_t[i].reshape(4, -1).T
        for j in range(4):
            cosines = [
                (torch.dot(s[j], t[k]) / (s[j].norm() * t[k].norm())).item() for k in range(4)
            ]
            total -= log(exp(cosines[j]) / sum(map(exp, cosines)))
    expected = total / 2 / 4  # (1 / M) sum_i, and our mean over the voxels j
    assert pairwise_distillation(v_s, v_t).item() == pytest.approx(expected, rel=1e-5)


def test_eq_4_cannot_fall_below_its_floor() -> None:
    # 245 voxels of a map after ReLU, whose cosines are no less than 0: one of 1 and, at the very
    # best, 244 of 0: log(1 + 244 / e) = 4.51, where chance is log 245 = 5.50.
    one_hot = torch.eye(245).T.reshape(1, 245, 7, 7, 5)
    assert pairwise_distillation(one_hot, one_hot).item() == pytest.approx(log(1 + 244 / exp(1)))
    assert log(1 + 244 / exp(1)) == pytest.approx(4.51, abs=0.005)
    assert log(245) == pytest.approx(5.50, abs=0.005)


def test_eq_5_is_the_mean_square_and_spares_the_teacher() -> None:
    student = torch.rand(2, 2, 2, 2, 2, requires_grad=True)
    teacher = torch.rand(2, 2, 2, 2, 2, requires_grad=True)
    loss = consistency(student, teacher)
    assert loss.item() == pytest.approx(((student - teacher) ** 2).mean().item())
    loss.backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_losses_leave_autocast() -> None:
    h_t, h_s = torch.randn(6, 64), torch.randn(6, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = boundary_contrast(h_t, h_s, 0.5)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, boundary_contrast(h_t, h_s, 0.5))


def test_ramp_of_the_paper() -> None:
    # exp(-5) = 0.0067 at the start, exp(-5/4) = 0.2865 half-way, 1 at the end.
    assert gaussian_ramp(0.0) == pytest.approx(0.006738, abs=1e-6)
    assert gaussian_ramp(0.5) == pytest.approx(0.286505, abs=1e-6)
    assert gaussian_ramp(1.0) == 1.0


def test_learning_rate_falls_by_ten_every_3000() -> None:
    rates = [0.01 * step_decay(step, 3000) for step in (0, 2999, 3000, 5999, 6000)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001])


def test_average_copies_first_and_slows_down() -> None:
    # t = 0: 0, the student itself; t = 1: 1/2; t = 999: 0.999; never more than the decay.
    assert [warm_decay(t, 0.999) for t in (0, 1, 999, 5000)] == [0.0, 0.5, 0.999, 0.999]
