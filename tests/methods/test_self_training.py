"""What is particular to self-training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.methods.stubs import END, PATCH, START, TASK, Brightness, batch, build

from simcvd.losses.segmentation import partial_segmentation, segmentation
from simcvd.methods.self_training import Config, SelfTraining
from simcvd.methods.trust import PATIENCE
from simcvd.types import Batch, SimcvdError


def _patches() -> Batch:
    image = torch.rand(4, 1, *PATCH)
    target = torch.randint(-1, 2, (2, *PATCH))
    return replace(batch(), image=image, strong=image[2:] * 0.9, target=target)


def _stubbed() -> SelfTraining:
    method = SelfTraining(Config(), TASK, build)
    method.network = Brightness()
    return method.train()


def test_the_student_learns_labels_and_pseudo_labels_of_the_jittered_patches() -> None:
    torch.manual_seed(0)
    method, patches = _stubbed(), _patches()
    terms = method(patches, START)
    shown = torch.cat([patches.image[:2], patches.strong])
    assert torch.equal(method.network.seen[0], shown)
    logits = Brightness()(shown).logits
    torch.testing.assert_close(terms["seg"], segmentation(logits[:2], patches.label))
    expected = partial_segmentation(logits[2:], patches.target)
    torch.testing.assert_close(terms["pseudo"], expected)
    shares = [(patches.target == k).float().mean().item() for k in (0, 1)]
    logged = {name: value.item() for name, value in method.logged().items()}
    assert logged == pytest.approx(
        {"trusted": sum(shares), "trusted_foreground": shares[1] / sum(shares)}, rel=1e-5
    )


def test_without_pseudo_labels_it_says_what_is_missing() -> None:
    with pytest.raises(SimcvdError, match="name the trained models"):
        _stubbed()(replace(_patches(), target=None), START)


@pytest.mark.parametrize(("label", "taught"), [(0, "nothing but background."), (-1, "nothing.")])
def test_background_and_nothing_are_survived_and_noted(label: int, taught: str) -> None:
    torch.manual_seed(0)
    method = _stubbed()
    patches = replace(_patches(), target=torch.full((2, *PATCH), label))
    for _ in range(PATIENCE):
        terms = method(patches, START)
    terms["pseudo"].backward()
    assert terms["pseudo"].isfinite()
    assert method.network.factor.grad.isfinite()
    (note,) = method.notes()
    assert f"these scans teach {taught}" in note


def test_bfloat16_gives_terms_in_float32_close_to_those_of_float32() -> None:
    def terms(half: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        method, patches = SelfTraining(Config(), TASK, build).train(), _patches()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            return method(patches, START)

    again, single = terms(half=False), terms(half=False)
    for name, term in terms(half=True).items():
        assert torch.equal(again[name], single[name])
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(single[name].item(), abs=0.05)


def test_weights_do_not_change() -> None:
    method = SelfTraining(Config(weight=0.7), TASK, build)
    assert method.weights(START) == method.weights(END) == {"seg": 1.0, "pseudo": 0.7}
