"""What a CUDA graph would hold: every number that changes with the step read from a tensor.

Recording and replaying need a GPU; that a step so written equals the plain one does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from tests.small import LABELED, NETWORK, with_pseudo_labels
from torch.utils._python_dispatch import TorchDispatchMode

from simcvd.data.cache import Cache
from simcvd.methods.base import Method
from simcvd.methods.registry import find, names
from simcvd.training.graph import fits_graph, held, on_device, refill
from simcvd.training.loop import Trainer
from simcvd.training.numbers import row_of
from simcvd.training.optim import run_optimizer, set_learning_rates
from simcvd.training.recipes import find_recipe
from simcvd.training.run import resolve
from simcvd.training.settings import TrainConfig
from simcvd.types import Batch, Progress


class Unread:
    """A method that fails where it asks for a value, which a recording does not have.

    What follows, optimisers and averages, does so on a CPU and not on a GPU.
    """

    def __init__(self, terms_of: Any) -> None:
        self.terms_of = terms_of

    def __call__(self, batch: Batch, progress: Progress) -> Any:
        with NoValues():
            return self.terms_of(batch, progress)

    def later(self, batch: Batch, progress: Progress) -> Any:
        with NoValues():
            return self.terms_of.later(batch, progress)


class NoValues(TorchDispatchMode):
    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert f is not torch.ops.aten._local_scalar_dense.default, "asks for a value"
        return f(*args, **(kwargs or {}))


CUT = ["train.iterations=6", "train.patch=(16,16,8)", "train.base=0", "train.warmup=0"]


def trainer_of(name: str, cache: Cache, out: Path, recipe: str = "strong", *more: str) -> Trainer:
    settings = [*CUT, "train.precision=float32", *more]
    run = resolve(
        cache,
        method=name,
        labeled=LABELED,
        settings=settings,
        recipe=find_recipe(recipe),
        network=NETWORK,
    )
    return with_pseudo_labels(Trainer(Fabric(accelerator="cpu"), run, cache, out))


def weights_after(trainer: Trainer, steps: int = 6) -> dict[str, torch.Tensor]:
    for _ in range(steps):
        trainer.train_step()
    return {**trainer.method.state_dict(), **trainer.tested.state_dict(prefix="tested.")}


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("recipe", ["paper", "strong"])
def test_a_step_on_tensors_is_the_plain_step(
    name: str, recipe: str, small_cache: Cache, tmp_path: Path
) -> None:
    # AdamW makes a whole step of a gradient's rounding where there is nothing else in it.
    plain = weights_after(trainer_of(name, small_cache, tmp_path, recipe, "train.optimizer=sgd"))
    trainer = trainer_of(name, small_cache, tmp_path, recipe, "train.optimizer=sgd")
    learner = trainer.learner
    learner.terms_of = Unread(learner.terms_of)
    kept: list[Batch] = []

    def take(batch: Batch, progress: Progress) -> dict[str, float | torch.Tensor]:
        if not kept:
            kept.append(held(batch))
        refill(kept[0], batch)
        numbers = learner.numbers(progress)
        moved = on_device(progress, numbers, row_of(numbers, pinned=False))
        return learner.row(*learner.learn(kept[0], *moved), numbers)

    trainer.take = take
    held_in_tensors = weights_after(trainer)
    for key, value in plain.items():
        torch.testing.assert_close(held_in_tensors[key], value, rtol=1e-5, atol=1e-6)


def test_simcvds_full_head_pace_is_held_in_tensors(small_cache: Cache, tmp_path: Path) -> None:
    def terms(in_tensors: bool) -> dict[str, torch.Tensor]:
        trainer = trainer_of("simcvd", small_cache, tmp_path, "paper", "method.head_pace=full")
        learner, progress = trainer.learner, Progress(step=3, total=6)
        torch.manual_seed(0)
        batch = trainer.patches.batch(3)
        numbers = learner.numbers(progress)
        if in_tensors:
            row = row_of(numbers, pinned=False)
            return learner.learn(batch, *on_device(progress, numbers, row))[0]
        return learner.learn(batch, progress, numbers)[0]

    torch.testing.assert_close(terms(True), terms(False))


def test_adamw_takes_its_rate_from_a_tensor() -> None:
    """The first step of AdamW is the rate, whatever the gradient: 1 - 0.5 * 0.25 - 0.5."""
    weight = torch.nn.Parameter(torch.ones(1))
    config = TrainConfig(optimizer="adamw", lr=9.0, weight_decay=0.25)
    optimizer = run_optimizer([weight], config)
    set_learning_rates({"network": optimizer}, torch.tensor(0.5))
    weight.grad = torch.full((1,), 3.0)
    optimizer.step()
    assert weight.item() == pytest.approx(0.375)


def test_a_batch_is_refilled_in_place(small_cache: Cache, tmp_path: Path) -> None:
    patches = trainer_of("cutmix", small_cache, tmp_path).patches
    first, second = patches.batch(0), patches.batch(1)
    kept = held(first)
    places = [kept.image.data_ptr(), kept.label.data_ptr()]
    refill(kept, second)
    assert torch.equal(kept.image, second.image)
    assert torch.equal(kept.label, second.label)
    assert kept.strong is not None
    assert torch.equal(kept.strong, second.strong)  # type: ignore[arg-type]
    assert places == [kept.image.data_ptr(), kept.label.data_ptr()]
    assert not torch.equal(first.image, second.image)


def test_every_method_of_ours_may_be_recorded_and_none_of_others_unasked() -> None:
    assert all(find(name).steady for name in names())
    assert not Method.steady


def test_a_cpu_records_nothing(small_cache: Cache, tmp_path: Path) -> None:
    trainer = trainer_of("supervised", small_cache, tmp_path)
    assert not fits_graph(trainer.learner)
    assert trainer.take == trainer.learner.step
