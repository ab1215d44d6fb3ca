"""What is particular to bidirectional copy-paste."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from tests.methods.stubs import END, PATCH, START, TASK, Brightness, batch, build, trained_by

from simcvd.methods.copy_paste import Config, CopyPaste
from simcvd.transforms.mixing import draw_box
from simcvd.types import Batch

CPU = torch.device("cpu")


def _patches(labeled: int, unlabeled: int) -> Batch:
    """Values in [0, 1], which `Brightness` takes for the probability of class 1."""
    image = torch.rand(labeled + unlabeled, 1, *PATCH)
    label = torch.randint(2, (labeled, *PATCH))
    strong = (image[labeled:] + 0.1 * torch.rand_like(image[labeled:])).clamp_max(1)
    cases = tuple("abcdefgh"[: len(image)])
    return replace(batch(), image=image, label=label, strong=strong, cases=cases)


def _stubbed(**changes: float) -> CopyPaste:
    method = CopyPaste(Config(**changes), TASK, build)
    method.network, method.teacher = Brightness(), Brightness().requires_grad_(False)
    return method.train()


@pytest.mark.parametrize(("labeled", "unlabeled"), [(2, 2), (4, 2), (1, 3), (3, 2)])
def test_mixes_and_terms_by_loops(labeled: int, unlabeled: int) -> None:
    torch.manual_seed(0)
    method = _stubbed(cross_entropy=1.0)
    patches = _patches(labeled, unlabeled)
    torch.manual_seed(1)
    terms = method(patches, START)
    torch.manual_seed(1)
    pairs = max(labeled, unlabeled)
    box = draw_box((pairs,), PATCH, (2 / 3, 2 / 3), CPU)

    seen = method.network.seen[0]
    assert len(seen) == 2 * pairs
    known, guessed = [], []
    for way, i, x, y, z in product(range(2), range(pairs), *map(range, PATCH)):
        at = (x, y, z)
        from_labeled = bool(box[i][at]) == (way == 0)
        value = (
            patches.image[i % labeled, 0][at]
            if from_labeled
            else patches.strong[i % unlabeled, 0][at]
        )
        assert seen[way * pairs + i, 0][at] == value
        taught = patches.image[labeled + i % unlabeled, 0][at]
        label = patches.label[i % labeled][at].item() if from_labeled else int(taught > 0.5)
        p = value.clamp(0.01, 0.99)
        (known if from_labeled else guessed).append(-(p if label else 1 - p).log().item())
    assert terms["seg"].item() == pytest.approx(sum(known) / len(known), rel=1e-4)
    assert terms["pseudo"].item() == pytest.approx(sum(guessed) / len(guessed), rel=1e-4)


def test_four_labelled_and_two_unlabelled_show_every_labelled_voxel_once() -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(), _patches(4, 2)
    method(patches, START)
    shown = method.network.seen[0].flatten().tolist()
    for value in patches.image[:4].flatten().tolist():
        assert shown.count(value) == 1
    for value in patches.strong[patches.strong < 1].tolist():
        assert shown.count(value) == 2


def test_the_teacher_sees_the_plain_patches_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(), _patches(4, 2)
    method(patches, START)
    assert torch.equal(method.teacher.seen[0], patches.image[4:])
    assert method.teacher.modes == [False]


def test_a_threshold_leaves_out_what_the_teacher_is_not_sure_of() -> None:
    torch.manual_seed(0)
    patches = _patches(2, 2)
    everything, some = _stubbed(), _stubbed(threshold=0.8)
    everything(patches, START)
    some(patches, START)
    sure = ((patches.image[2:] - 0.5).abs() >= 0.3).float().mean().item()
    assert everything.logged()["trusted"].item() == 1.0
    assert some.logged()["trusted"].item() == pytest.approx(sure, abs=1e-3)


def test_all_background_is_survived() -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(), _patches(2, 2)
    method.teacher.factor.zero_()
    terms = method(patches, START)
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert method.network.factor.grad.isfinite()
    assert method.logged()["trusted_foreground"].item() == 0.0


def test_both_terms_train_the_network_only() -> None:
    torch.manual_seed(0)
    method = CopyPaste(Config(), TASK, build)
    for term in method(_patches(2, 2), START).values():
        assert {name.split(".")[0] for name in trained_by(term, method)} == {"network"}


def test_bfloat16_gives_terms_in_float32_close_to_those_of_float32() -> None:
    def terms(half: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        method, patches = CopyPaste(Config(), TASK, build).train(), _patches(4, 2)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            return method(patches, START)

    again, single = terms(half=False), terms(half=False)
    for name, term in terms(half=True).items():
        assert torch.equal(again[name], single[name])
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(single[name].item(), abs=0.05)


def test_weights_are_the_papers() -> None:
    method = CopyPaste(Config(), TASK, build)
    assert method.weights(START) == method.weights(END) == {"seg": 1.0, "pseudo": 0.5}
