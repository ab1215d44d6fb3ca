"""A loop of one's own around the one training step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.small import LABELED, NETWORK, TRAIN

from simcvd.data.cache import Cache
from simcvd.training.loop import Trainer
from simcvd.training.run import Run, resolve
from simcvd.training.setup import build_method, mix
from simcvd.training.step import fit
from simcvd.types import Batch, SimcvdError


@pytest.fixture(params=["mean_teacher", "dan"])
def run(request: pytest.FixtureRequest, small_cache: Cache) -> Run:
    train = replace(TRAIN, iterations=3, precision="float32")
    return resolve(small_cache, method=request.param, labeled=LABELED, train=train, network=NETWORK)


def drawn(trainer: Trainer) -> Iterator[Batch]:
    """The batches of a run, and what it seeds before each."""
    for step in range(trainer.run.train.iterations):
        torch.manual_seed(mix(trainer.run.train.seed, step, 0))
        yield trainer.patches.batch(step)


def test_a_loop_of_ones_own_learns_what_a_run_learns(
    run: Run, small_cache: Cache, tmp_path: Path
) -> None:
    from lightning_fabric import Fabric

    trainer = Trainer(Fabric(accelerator="cpu", devices=1), run, small_cache, tmp_path / "run")
    rows = [trainer.train_step() for _ in range(3)]
    method = build_method(run)
    found = list(fit(method, drawn(trainer), run.train))
    assert [row["loss"] for row in found] == [float(row["loss"]) for row in rows]
    for (name, ours), theirs in zip(
        method.state_dict().items(), trainer.method.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_it_ends_with_its_batches_and_at_its_length(
    run: Run, small_cache: Cache, tmp_path: Path
) -> None:
    from lightning_fabric import Fabric

    trainer = Trainer(Fabric(accelerator="cpu", devices=1), run, small_cache, tmp_path / "run")
    batch = next(drawn(trainer))
    assert len(list(fit(build_method(run), [batch] * 2, run.train))) == 2
    assert len(list(fit(build_method(run), iter([batch] * 9), run.train))) == 3
    broken = replace(batch, image=batch.image * torch.nan)
    method = build_method(run)
    before = [p.clone() for p in method.network.parameters()]
    with pytest.raises(SimcvdError, match=r"not finite on the cases case"):
        next(iter(fit(method, [broken], run.train)))
    assert all(map(torch.equal, before, method.network.parameters()))
