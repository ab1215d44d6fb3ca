"""What is particular to CutMix pseudo-labels."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import exp

import pytest
import torch
from tests.methods.stubs import END, PATCH, START, TASK, Brightness, batch, build, trained_by

from simcvd.losses.segmentation import segmentation
from simcvd.methods.cutmix import SIDES, Config, CutMix
from simcvd.training.ema import update_averages
from simcvd.transforms.mixing import draw_box
from simcvd.types import Batch, Progress


def _patches(unlabeled: int = 2) -> Batch:
    """Values in [0, 1], which `Brightness` takes for the probability of class 1."""
    image = torch.rand(2 + unlabeled, 1, *PATCH)
    strong = (image[2:] + 0.1 * torch.rand_like(image[2:])).clamp_max(1)
    cases = tuple("abcdefgh"[: len(image)])
    return replace(batch(), image=image, strong=strong, cases=cases)


def _stubbed(**changes: object) -> CutMix:
    method = CutMix(Config(**changes), TASK, build)  # type: ignore[arg-type]
    method.network, method.teacher = Brightness(), Brightness().requires_grad_(False)
    return method.train()


@pytest.mark.parametrize("unlabeled", [2, 3])
def test_the_student_is_shown_jittered_patches_with_a_box_of_the_one_before(unlabeled: int) -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(), _patches(unlabeled)
    torch.manual_seed(1)
    method(patches, START)
    torch.manual_seed(1)
    box = draw_box((1,), PATCH, SIDES, torch.device("cpu"))[0]
    assert torch.equal(method.network.seen[0][:2], patches.image[:2])
    mixed = method.network.seen[0][2:]
    for u, x, y, z in product(range(unlabeled), *map(range, PATCH)):
        source = (u - 1) % unlabeled if box[x, y, z] else u
        assert mixed[u, 0, x, y, z] == patches.strong[source, 0, x, y, z]


def test_the_term_of_the_pseudo_labels_by_loops() -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(trust="fixed", cross_entropy=1.0), _patches()
    torch.manual_seed(1)
    found = method(patches, START)["pseudo"].item()
    torch.manual_seed(1)
    box = draw_box((1,), PATCH, SIDES, torch.device("cpu"))[0]
    losses = []
    for u, x, y, z in product(range(2), *map(range, PATCH)):
        source = (u - 1) % 2 if box[x, y, z] else u
        taught, seen = patches.image[2 + source, 0, x, y, z], patches.strong[source, 0, x, y, z]
        if max(taught, 1 - taught) >= 0.8:
            right = seen if taught >= 0.5 else 1 - seen
            losses.append(-right.clamp(0.01, 0.99).log())
    assert 0 < len(losses) < 2 * 8 * 8 * 4
    assert found == pytest.approx(sum(losses).item() / len(losses), rel=1e-4)


def test_the_teacher_sees_the_plain_patches_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(), _patches()
    method(patches, START)
    assert len(method.teacher.seen) == 1
    assert torch.equal(method.teacher.seen[0], patches.image[2:])
    assert method.teacher.modes == [False]
    assert method.network.modes == [True]


def test_agreement_shows_the_teacher_the_jittered_patches_too() -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(trust="agreement", threshold=0.0), _patches()
    method(patches, START)
    shown = {tuple(x.flatten().tolist()) for x in method.teacher.seen}
    wanted = (patches.image[2:], patches.strong)
    assert shown == {tuple(x.flatten().tolist()) for x in wanted}
    agree = ((patches.image[2:] > 0.5) == (patches.strong > 0.5)).float().mean()
    assert 0.8 < agree < 1
    assert method.logged()["trusted"] == pytest.approx(agree.item())


def test_without_jittered_patches_the_plain_ones_are_mixed() -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(), _patches()
    torch.manual_seed(1)
    first = method(replace(patches, strong=None), START)["pseudo"]
    torch.manual_seed(1)
    second = method(replace(patches, strong=patches.image[2:]), START)["pseudo"]
    assert torch.equal(first, second)


def test_labelled_patches_are_learnt_as_by_the_control() -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(), _patches()
    logits = Brightness()(patches.image[:2]).logits
    found = method(patches, START)["seg"]
    torch.testing.assert_close(found, segmentation(logits, patches.label))


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_all_background_and_nothing_believed_are_survived(level: float) -> None:
    """At 0 the teacher sees background everywhere, at 0.5 it is sure of nothing."""
    torch.manual_seed(0)
    method, patches = _stubbed(), _patches()
    method.network = build()
    method.teacher.factor.zero_()
    if level:
        patches.image[2:] = 0.5
        method.teacher.factor.fill_(1.0)
    term = method(patches, START)["pseudo"]
    term.backward()
    assert term.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.network.parameters())
    assert method.logged()["trusted_foreground"].item() == 0.0
    assert method.logged()["trusted"].item() == (0.0 if level else 1.0)


def test_pseudo_labels_train_the_network_only() -> None:
    torch.manual_seed(0)
    method, patches = CutMix(Config(threshold=0.0), TASK, build), _patches()
    trained = trained_by(method(patches, START)["pseudo"], method)
    assert {name.split(".")[0] for name in trained} == {"network"}


def test_the_teachers_statistics_follow_the_students() -> None:
    torch.manual_seed(0)
    method = CutMix(Config(), TASK, build).train()
    method(_patches(), START)
    update_averages(method.averages(), [1.0])  # copies
    pairs = zip(method.teacher.buffers(), method.network.buffers(), strict=True)
    followed = [(t, s) for t, s in pairs if t.is_floating_point()]
    assert followed
    assert all(torch.equal(teacher, student) for teacher, student in followed)
    assert any(student.std() > 0 for _, student in followed)


@pytest.mark.parametrize("trust", ["fixed", "class", "agreement"])
def test_the_same_seed_gives_the_same_bits(trust: str) -> None:
    def terms() -> list[torch.Tensor]:
        torch.manual_seed(3)
        method = CutMix(Config(trust=trust, threshold=0.4), TASK, build).train()  # type: ignore[arg-type]
        patches = _patches()
        return [t for _ in range(2) for t in method(patches, START).values()]

    for first, second in zip(terms(), terms(), strict=True):
        assert torch.equal(first, second)


def test_bfloat16_gives_terms_in_float32_close_to_those_of_float32() -> None:
    def terms(half: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        method, patches = CutMix(Config(threshold=0.0), TASK, build).train(), _patches()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            return method(patches, START)

    for name, term in terms(half=True).items():
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(terms(half=False)[name].item(), abs=0.05)


def test_weights_rise_over_the_first_twentieth() -> None:
    method = CutMix(Config(), TASK, build)
    assert method.weights(START) == {"seg": 1.0, "pseudo": pytest.approx(exp(-5))}
    half = method.weights(Progress(step=25, total=1000))
    assert half["pseudo"] == pytest.approx(exp(-5 / 4))
    for done in (Progress(step=50, total=1000), END):
        assert method.weights(done) == {"seg": 1.0, "pseudo": 1.0}
