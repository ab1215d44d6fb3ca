"""What every method must keep to. Runs over all that are found; a new one needs no edit here."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import fields, replace
from math import inf, isfinite, nan
from pathlib import Path

import pytest
import torch
from tests.small import LABELED, NETWORK, TRAIN, with_pseudo_labels

from simcvd.data.cache import Cache
from simcvd.methods.base import Method
from simcvd.methods.registry import default_config, find, names
from simcvd.networks.residual_unet import ResidualUNetConfig
from simcvd.networks.vnet import VNet
from simcvd.ranges import Range, ranges
from simcvd.training.ema import shares_of, update_averages
from simcvd.training.loop import Trainer
from simcvd.training.run import Run, resolve
from simcvd.training.setup import build_method
from simcvd.types import Batch, Progress, SimcvdError

TOTAL = 100
STEPS = (0, 50, 99)


@pytest.fixture(params=names())
def run(request: pytest.FixtureRequest, small_cache: Cache) -> Run:
    return resolve(small_cache, method=request.param, labeled=LABELED, train=TRAIN, network=NETWORK)


@pytest.fixture
def method(run: Run) -> Method:
    return build_method(run)


@pytest.fixture
def batch(run: Run, method: Method) -> Batch:
    return patches(run, method)


def patches(run: Run, method: Method) -> Batch:
    """Two easy patches, the foreground brighter; the unlabelled ones look alike."""
    torch.manual_seed(1)
    size, labeled = run.task.patch, 2 if method.uses_unlabeled else 4
    label = torch.zeros(4, *size, dtype=torch.int64)
    label[:, 4:10, 4:12, 2:6] = 1
    label[:, 6:9, 6:10, 3:5] = 2
    image = label[:, None].float() + 0.3 * torch.randn(4, 1, *size)
    distance = torch.stack([0.5 - (label == k).float() for k in (1, 2)], 1)
    target = label[labeled:].clone()
    target[:, :3] = -1
    return Batch(
        image=image,
        label=label[:labeled],
        distance=distance[:labeled],
        cases=tuple("abcd"),
        strong=1.1 * image[labeled:] + 0.1 if method.strong_views else None,
        target=target if method.pseudo_labels else None,
    )


@pytest.mark.parametrize("step", STEPS)
def test_every_term_has_a_weight(method: Method, batch: Batch, step: int) -> None:
    progress = Progress(step=step, total=TOTAL)
    first, second = method(batch, progress), method.later(batch, progress)
    assert not first.keys() & second.keys()
    terms, weights = {**first, **second}, method.weights(progress)
    assert terms.keys() == weights.keys()
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    assert all(weight >= 0 for weight in weights.values())


@pytest.mark.parametrize("step", STEPS)
def test_every_term_trains_exactly_one_player(method: Method, batch: Batch, step: int) -> None:
    players = method.players()
    _make_averages_sure(method)
    for name, term in _terms(method, batch, Progress(step=step, total=TOTAL)).items():
        trained = [
            player
            for player, parameters in players.items()
            if any(g is not None and g.any() for g in _gradients(term, parameters))
        ]
        assert len(trained) == 1, f"{name} trains {trained}"


@pytest.mark.parametrize("step", STEPS)
def test_only_who_says_so_leaves_a_parameter_without_gradient(
    method: Method, batch: Batch, step: int
) -> None:
    """Processes that train together would wait for it."""
    progress = Progress(step=step, total=TOTAL)
    for terms in (method(batch, progress), method.later(batch, progress)):
        method.zero_grad(set_to_none=True)
        if terms:
            torch.stack(list(terms.values())).sum().backward()
            unused = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
            assert not unused or method.leaves_unused


def test_every_trained_parameter_belongs_to_one_player(method: Method) -> None:
    owned = [id(p) for parameters in method.players().values() for p in parameters]
    assert sorted(owned) == sorted(id(p) for p in method.parameters() if p.requires_grad)


def test_averages_take_no_gradient_and_follow_their_source(method: Method) -> None:
    for average, source, *_ in method.averages():
        assert not any(p.requires_grad for p in average.parameters())
        with torch.no_grad():
            for p in source.parameters():
                p.add_(1.0)
    update_averages(method.averages(), shares_of(method.averages(), 1))  # half-way
    for average, source, *_ in method.averages():
        for a, s in zip(average.parameters(), source.parameters(), strict=True):
            torch.testing.assert_close(a, s - 0.5)


def test_the_first_term_falls(method: Method, batch: Batch) -> None:
    optimizers = [torch.optim.SGD(p, lr=0.05, momentum=0.9) for p in method.players().values()]
    progress, losses = Progress(step=0, total=TOTAL), []
    for _ in range(40):
        terms, weights = method(batch, progress), method.weights(progress)
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.stack([weights[name] * term for name, term in terms.items()]).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(next(iter(terms.values())).item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", names())
def test_the_residual_unet_learns_on_all_its_maps(small_cache: Cache, name: str) -> None:
    sizes = ResidualUNetConfig(widths=(4, 8, 8), blocks=(1, 1, 1), strides=((2, 2, 2),) * 2)
    run = resolve(small_cache, method=name, labeled=LABELED, train=TRAIN, network=sizes)
    method = build_method(run)
    batch = patches(run, method)
    progress = Progress(step=TOTAL - 1, total=TOTAL)  # where every method learns the labels
    terms = _terms(method, batch, progress)
    assert all(term.isfinite() for term in terms.values())
    assert terms.keys() == method.weights(progress).keys()
    coarse = list(method.network.auxiliary_heads.parameters())
    assert coarse
    assert all(g is not None and g.any() for g in _gradients(terms["seg"], coarse))


@pytest.mark.parametrize("name", names())
def test_every_number_has_a_range_and_is_refused_outside(name: str) -> None:
    config = default_config(name)
    found = ranges(type(config))
    numbers = {f.name for f in fields(config) if isinstance(getattr(config, f.name), int | float)}
    assert found.keys() == numbers
    for field, allowed in found.items():
        for value in _outside(allowed):
            shown = rf"method\.{field.rstrip('_')} is {value}; it must be .*{allowed}"
            with pytest.raises(SimcvdError, match=shown):
                replace(config, **{field: value})


@pytest.mark.parametrize("name", names())
def test_a_method_is_one_small_file(name: str) -> None:
    # Five terms, and a field with its docstring for every ablation and every open point.
    most = 240 if name == "simcvd" else 130
    assert len(Path(inspect.getfile(find(name))).read_text(encoding="utf-8").splitlines()) < most


def test_resuming_gives_the_same_bits(run: Run, small_cache: Cache, tmp_path: Path) -> None:
    whole = _trainer(run, small_cache, tmp_path / "whole")
    for _ in range(4):
        whole.train_step()
    first = _trainer(run, small_cache, tmp_path / "stopped")
    for _ in range(2):
        first.train_step()
    first.save()
    second = _trainer(run, small_cache, tmp_path / "stopped")
    second.restore()
    assert second.step == 2
    for _ in range(2):
        second.train_step()
    assert _same(whole.method.state_dict(), second.method.state_dict())
    for name, optimizer in whole.optimizers.items():
        assert _same(optimizer.state_dict(), second.optimizers[name].state_dict())


def test_two_processes_end_with_equal_parameters(small_cache: Cache, tmp_path: Path) -> None:
    """One torchrun of two processes goes through all methods; see two_processes.py."""
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(str(script), str(small_cache.root), str(tmp_path)),
        ],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(line for line in done.stdout.split() if line in names()) == names()


def _terms(method: Method, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
    """Those of the first step and of the second."""
    return {**method(batch, progress), **method.later(batch, progress)}


def _outside(allowed: Range) -> list[float]:
    """Ends that do not belong to a range, what lies beyond the others, and no numbers."""
    beyond = (allowed.above, allowed.least - 1, allowed.most + 1, allowed.below)
    return [*filter(isfinite, beyond), inf, -inf, nan]


def _make_averages_sure(method: Method) -> None:
    """From a fresh teacher that is sure of nothing there may be nothing to learn."""
    for average, *_ in method.averages():
        if isinstance(average, VNet):
            average.class_head.weight.mul_(1000)


def _gradients(term: torch.Tensor, parameters: list[torch.nn.Parameter]) -> tuple:
    if not term.requires_grad:
        return ()
    return torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)


def _trainer(run: Run, cache: Cache, out: Path) -> Trainer:
    from lightning_fabric import Fabric

    return with_pseudo_labels(Trainer(Fabric(accelerator="cpu", devices=1), run, cache, out))


def _same(a: object, b: object) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b  # type: ignore[arg-type]
