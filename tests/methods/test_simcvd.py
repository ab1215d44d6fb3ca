"""What is particular to SimCVD: its default reading by loops, and each other reading."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from tests.methods.stubs import END, START, TASK, Fixed, batch, build
from torch import Tensor

from simcvd.losses.contrastive import attraction, pairwise_distillation
from simcvd.losses.segmentation import dice
from simcvd.methods.simcvd import Config, SimCVD
from simcvd.schedules import gaussian_ramp, step_decay
from simcvd.transforms.intensity import draw_noise
from simcvd.types import Prediction, Progress, SimcvdError

SMALL = {"pool": 4, "hidden": 8, "out": 6}
HALF = Progress(step=50, total=100)


def _method(**settings: object) -> SimCVD:
    torch.manual_seed(0)
    return SimCVD(Config(**SMALL, **settings), TASK, build)


def _maps(method: SimCVD, patches: Tensor) -> tuple[Prediction, Prediction]:
    """Student's and teacher's predictions of the two unlabelled patches, noise drawn as it does."""
    torch.manual_seed(1)
    noisy = patches[2:] + draw_noise(patches[2:])
    student = method.network(torch.cat([patches[:2], noisy])).split(2)[1]
    return student, method.teacher(patches[2:] + draw_noise(patches[2:]))


def _terms(method: SimCVD, patches: object, progress: Progress = START) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return method(patches, progress)


def test_the_defaults_by_loops() -> None:
    method, patches = _method().eval(), batch()
    terms = _terms(method, patches)
    student, teacher = _maps(method, patches.image)
    rows = []
    for head, prediction in ((method.head, student), (method.teacher_head, teacher)):
        maps = patches.image[2:, 0] + prediction.distance[:, 0]
        slices = [maps[i, :, :, z].view(1, *TASK.patch[:2], 1) for i in range(2) for z in range(4)]
        vectors = [head(one)[0].detach() for one in slices]
        rows.append([h / h.norm() for h in vectors])
    contrast = 0.0
    for anchors, others in (rows, rows[::-1]):
        for j in range(8):
            products = [exp(torch.dot(anchors[j], others[n]) / 0.5) for n in range(8)]
            contrast -= log(products[j] / sum(products)) / 8
    assert terms["contrast"].item() == pytest.approx(contrast, rel=1e-5)
    squares = (student.probabilities - teacher.probabilities).square().mean()
    squares = squares + (student.distance - teacher.distance).square().mean()
    assert terms["con"].item() == pytest.approx(squares.item(), rel=1e-5)
    expected = pairwise_distillation(student.features, teacher.features)
    assert terms["pd"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_levels_are_logged_beside_the_contrast() -> None:
    method = _method()
    assert method.logged() == {}
    method(batch(), START)
    # 2 unlabelled patches of 4 slices: 2 log 8, and 2 log(1 + 7 exp(-8 / 7 / 0.5)).
    assert method.logged() == {
        "contrast_chance": pytest.approx(4.1589, abs=1e-4),
        "contrast_floor": pytest.approx(1.0752, abs=1e-4),
    }


def test_negatives_of_the_whole_batch_are_shown_to_both_networks() -> None:
    method, patches = _method(negatives="batch", beta=0.0), batch()
    method.network, method.teacher = Fixed([0.0, 0.0]), Fixed([0.0, 0.0])
    method(patches, START)
    assert torch.equal(method.teacher.seen[0][:2], patches.image[:2])
    assert len(method.teacher.seen[0]) == 4
    assert method.logged()["contrast_chance"] == pytest.approx(2 * log(16))


def test_consistency_compares_unlabelled_patches_whatever_the_negatives() -> None:
    patches = batch()
    terms = [_terms(_method(negatives=n).eval(), patches) for n in ("unlabeled", "batch")]
    torch.testing.assert_close(terms[0]["con"], terms[1]["con"])
    torch.testing.assert_close(terms[0]["pd"], terms[1]["pd"])
    assert terms[1]["contrast"] > terms[0]["contrast"]  # the same and eight negatives more


def test_drawn_negatives_change_the_chance() -> None:
    method = _method(drawn=3)
    method(batch(), START)
    assert method.logged()["contrast_chance"] == pytest.approx(2 * log(4))


def test_only_the_pull_of_the_positive_pair_reaches_the_maps() -> None:
    patches, gradients = batch(), {}
    for push in ("all", "positive"):
        method = _method(push=push).eval()
        _terms(method, patches)["contrast"].backward()
        gradients[push] = {name: p.grad for name, p in method.named_parameters()}
    head = [name for name in gradients["all"] if name.startswith("head.mlp")]
    for name in head:
        torch.testing.assert_close(gradients["positive"][name], gradients["all"][name])
    method = _method().eval()
    student, teacher = _maps(method, patches.image)
    h_s = method.head(patches.image[2:, 0] + student.distance[:, 0])
    h_t = method.teacher_head(patches.image[2:, 0] + teacher.distance[:, 0]).detach()
    attraction(h_t, h_s, 0.5).backward()
    for name, p in method.network.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(gradients["positive"][f"network.{name}"], p.grad)


def test_push_leaves_the_value_as_it_is() -> None:
    patches = batch()
    whole, one = (_terms(_method(push=push), patches)["contrast"] for push in ("all", "positive"))
    assert torch.equal(whole, one)


class TwoPatterns(Fixed):
    """Its deepest map after dropout is another than before."""

    def forward(self, x: Tensor) -> Prediction:
        plain = super().forward(x)
        return Prediction(
            logits=plain.logits,
            distance=plain.distance,
            features=torch.eye(4).expand(len(x), 4, 4).unflatten(2, (2, 2, 1)),
            dropped=torch.ones(len(x), 4, 2, 2, 1),
        )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    # Four voxels, each its own channel: log(1 + 3 / e). All alike: log 4.
    [("plain", log(1 + 3 / exp(1))), ("dropped", log(4))],
)
def test_eq_4_compares_the_pattern_before_or_after_dropout(pattern: str, expected: float) -> None:
    method = _method(pattern=pattern)
    method.network, method.teacher = TwoPatterns([0.0, 0.0]), TwoPatterns([0.0, 0.0])
    assert method(batch(), START)["pd"].item() == pytest.approx(expected)


def test_a_network_without_a_dropped_pattern_is_refused() -> None:
    method = _method(pattern="dropped")
    method.network = Fixed([0.0, 0.0])
    with pytest.raises(SimcvdError, match=r"method\.pattern .*Prediction\.dropped"):
        method(batch(), START)


def test_the_mean_over_both_maps_is_half_of_their_sum() -> None:
    values = {}
    for which in ("both", "mean", "probabilities"):
        method = _method(consistency=which, beta=0.0)
        method.network = Fixed([0.0, 0.0], distance=0.5)
        method.teacher = Fixed([0.0, log(3)], distance=-0.5)
        values[which] = method(batch(), START)["con"].item()
    # (3/4 - 1/2)^2 and (1/2 + 1/2)^2.
    assert values == pytest.approx({"both": 17 / 16, "mean": 17 / 32, "probabilities": 1 / 16})


def test_dice_of_each_volume() -> None:
    method, patches = _method(dice="volume", cross_entropy=0.0).eval(), batch()
    patches.label[0, :4] = 1
    q = method.network(patches.image[:2]).probabilities
    alone = [dice(q[i : i + 1], patches.label[i : i + 1]).item() for i in range(2)]
    seg = _terms(method, patches)["seg"].item()
    assert seg == pytest.approx(sum(alone) / 2, rel=1e-5)
    assert seg != pytest.approx(dice(q, patches.label).item(), rel=1e-3)


@pytest.mark.parametrize(
    ("ramp", "contrast", "pd"),
    # exp(-5) = 0.006738, exp(-5/4) = 0.286505; times lambda = 0.5 and beta = 0.1.
    [
        ("all", [0.003369, 0.143252, 0.5], [0.000674, 0.028650, 0.1]),
        ("gamma", [0.5, 0.5, 0.5], [0.1, 0.1, 0.1]),
        ("falling", [0.5, 0.143252, 0.003369], [0.000674, 0.028650, 0.1]),
    ],
)
def test_what_is_ramped(ramp: str, contrast: list[float], pd: list[float]) -> None:
    method = _method(ramp=ramp)
    weights = [method.weights(at) for at in (START, HALF, END)]
    assert [w["contrast"] for w in weights] == pytest.approx(contrast, abs=1e-6)
    assert [w["pd"] for w in weights] == pytest.approx(pd, abs=1e-6)
    assert [w["con"] for w in weights] == pytest.approx([0.000674, 0.028650, 0.1], abs=1e-6)


def test_ramping_lambda_too_leaves_it_a_seventh_of_its_push() -> None:
    # The rate falls by ten half-way, so that most of the ramp meets the small one.
    rates = [step_decay(t, 3000) for t in range(6000)]
    push = sum(rate * gaussian_ramp(t / 6000) for t, rate in enumerate(rates)) / sum(rates)
    assert push == pytest.approx(0.145, abs=0.001)
