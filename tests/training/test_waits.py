"""A step asks the device for nothing: on the device without memory, as a stand-in for a GPU.

There a tensor of the CPU mixes with none, and no value can be asked for, for which a GPU would have
to be waited for. Copies to it that the host would wait for are watched for apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from tests.small import LABELED, NETWORK, TRAIN, with_pseudo_labels
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils as kinds
from torch.utils._python_dispatch import TorchDispatchMode

from simcvd.data import sampler
from simcvd.data.cache import Cache
from simcvd.methods.registry import names
from simcvd.training import loop
from simcvd.training.faults import Faults
from simcvd.training.loop import Trainer
from simcvd.training.optim import restore_optimizer
from simcvd.training.recipes import find_recipe
from simcvd.training.run import resolve
from simcvd.types import SimcvdError

META = torch.device("meta")


def _set_up(method: Any, *optimizers: Any) -> tuple[Any, ...]:
    method.mark_forward_method = lambda name: None  # as Fabric's own wrapper has it
    return (method, *optimizers)


FABRIC: Any = SimpleNamespace(
    device=META,
    global_rank=0,
    world_size=1,
    is_global_zero=True,
    setup=_set_up,
    backward=lambda loss: loss.backward(),
)


class Copies(TorchDispatchMode):
    """Fails on a copy between devices that the host waits for."""

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if f is torch.ops.aten._to_copy.default:
            moved = kwargs.get("device") not in (None, args[0].device)
            waits = not kwargs.get("non_blocking", False)
            assert not (moved and waits), f"waits for a copy to {kwargs['device']}"
        if f is torch.ops.aten.copy_.default and args[0].device != args[1].device:
            assert args[2:] == (True,) or kwargs.get("non_blocking"), "waits for a copy"
        return f(*args, **kwargs)


class Literals(TorchFunctionMode):
    """Fails on numbers of the host made a tensor of the device, for which it waits, too."""

    def __torch_function__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if f in (torch.tensor, torch.as_tensor):
            assert torch.device(kwargs.get("device") or "cpu") != META, "waits for a literal"
        return f(*args, **kwargs)


@contextmanager
def no_waits() -> Iterator[None]:
    with Copies(), Literals():
        yield


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a training be set up and run there."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # has none for it
    monkeypatch.setattr(sampler, "free_memory", lambda device: 1 << 40)
    known = kinds._get_fused_kernels_supported_devices()
    for module in (kinds, import_module("torch.optim.optimizer")):
        name = "_get_fused_kernels_supported_devices"
        monkeypatch.setattr(module, name, lambda: [*known, "meta"])
    monkeypatch.setattr(torch, "_fused_sgd_", lambda *_, **__: None)  # the others have kernels
    monkeypatch.setattr(torch, "_sample_dirichlet", torch.empty_like)
    monkeypatch.setattr(torch, "manual_seed", lambda seed: None)
    built = loop.build_method

    def build_there(run: Any) -> Any:
        with META:
            return built(run)

    monkeypatch.setattr(loop, "build_method", build_there)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("recipe", ["paper", "strong"])
def test_a_step_waits_for_nothing(
    name: str, recipe: str, on_meta: None, small_cache: Cache, tmp_path: Path
) -> None:
    cut = ["train.iterations=100", "train.patch=(16,16,8)", "train.base=0", "train.warmup=0"]
    chosen = find_recipe(recipe)
    run = resolve(
        small_cache, method=name, labeled=LABELED, settings=cut, recipe=chosen, network=NETWORK
    )
    trainer = with_pseudo_labels(Trainer(FABRIC, run, small_cache, tmp_path))
    with no_waits():
        for step in (0, 20, 99):  # each phase of a method that has phases
            trainer.step = step
            row = trainer.train_step()
    assert row["loss"].device == META  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: float(x.sum()),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: torch.ones(3).to(x.device),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: torch.tensor([1.0], device=x.device),
    ],
)
def test_what_waits_is_noticed(waits: Callable[[torch.Tensor], object]) -> None:
    x = torch.ones(3, device=META)
    with no_waits(), pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
        waits(x)


def test_what_does_not_wait_passes() -> None:
    x = torch.ones(3, device=META)
    with no_waits():
        x.copy_(torch.ones(3), non_blocking=True)
        x + torch.ones(3).to(META, non_blocking=True)
        torch.where(x > 0, x, -1)


@pytest.mark.parametrize("settings", [(), ("train.optimizer=adamw",), ("train.clip=1.0",)])
@pytest.mark.parametrize("name", ["mean_teacher", "dan"])
def test_a_bad_step_and_those_after_it_change_no_parameter(
    name: str, settings: tuple[str, ...], small_cache: Cache, tmp_path: Path
) -> None:
    run = resolve(
        small_cache,
        method=name,
        labeled=LABELED,
        train=TRAIN,
        settings=settings,
        network=NETWORK,
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(fabric, run, small_cache, tmp_path)
    trainer.train_step()
    trainer.train_step()
    before = _state(trainer)
    draw = trainer.patches.batch

    def spoilt(step: int) -> Any:
        batch = draw(step)
        if step == 2:
            batch.image[0, 0, 0, 0, 0] = torch.nan
        return batch

    trainer.patches.batch = spoilt  # type: ignore[method-assign]
    for _ in range(3):
        trainer.train_step()
    after = _state(trainer)
    assert before
    assert all(torch.equal(before[key], value) for key, value in after.items())
    cases = ", ".join(draw(2).cases)
    with pytest.raises(SimcvdError, match=f"step 2: seg.* not finite on the cases {cases}"):
        trainer.save()
    assert not list(tmp_path.rglob("*.pt"))


def test_only_the_terms_of_the_first_bad_step_are_named() -> None:
    faults, one = Faults(torch.device("cpu")), torch.tensor(1.0)
    faults.look_at({"a": one, "b": one}, 0)
    faults.refuse(lambda step: ())
    assert faults.found == 0
    faults.look_at({"a": one, "b": one / 0}, 1)
    faults.look_at({"late": one * torch.nan}, 1)
    faults.look_at({"a": one / 0, "b": one}, 2)
    with pytest.raises(SimcvdError, match="step 1: b not finite on the cases x, y") as caught:
        faults.refuse(lambda step: ("x", "y") if step == 1 else ("z",))
    assert "late" not in str(caught.value)


def test_a_checkpoint_of_foreach_steps_goes_on_with_fused_ones() -> None:
    """On a GPU; of an optimiser that has not reached every parameter yet."""
    weight, late = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    old = torch.optim.SGD([weight, late], lr=0.5, momentum=0.9, foreach=True)
    weight.grad = torch.ones(3)
    old.step()
    assert late not in old.state
    new = torch.optim.SGD([weight, late], lr=0.1, momentum=0.9, fused=True)
    restore_optimizer(new, old.state_dict())
    (group,) = new.param_groups
    assert (group["fused"], bool(group["foreach"]), group["lr"]) == (True, False, 0.5)
    late.grad = torch.ones(3)
    new.found_inf = torch.ones(())  # type: ignore[attr-defined]
    new.step()
    assert [*weight.tolist(), *late.tolist()] == [0.5] * 3 + [1.0] * 3
    new.found_inf = torch.zeros(())  # type: ignore[attr-defined]
    new.step()
    torch.testing.assert_close(late.detach(), torch.full((3,), 0.5))  # 1 - 0.5
    torch.testing.assert_close(weight.detach(), torch.full((3,), -0.45))  # 0.5 - 0.5 * 1.9


def _state(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Parameters that are trained, and what their optimisers remember."""
    found = {n: p.detach().clone() for n, p in trainer.method.named_parameters() if p.requires_grad}
    for player, optimizer in trainer.optimizers.items():
        for i, state in enumerate(optimizer.state.values()):
            found |= {f"{player} {i} {k}": v.clone() for k, v in state.items()}
    return found
