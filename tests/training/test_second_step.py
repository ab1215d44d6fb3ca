"""A method whose critic learns after the network: two steps an iteration, one player each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from tests.small import LABELED, NETWORK, TRAIN

from simcvd.data.cache import Cache
from simcvd.training.loop import Trainer
from simcvd.training.run import resolve


@pytest.fixture(params=["dan", "sassnet"])
def trainer(request: pytest.FixtureRequest, small_cache: Cache, tmp_path: Path) -> Trainer:
    run = resolve(small_cache, method=request.param, labeled=LABELED, train=TRAIN, network=NETWORK)
    return Trainer(Fabric(accelerator="cpu", devices=1), run, small_cache, tmp_path)


def _weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    players = trainer.method.players()
    return {name: torch.cat([p.detach().flatten() for p in ps]) for name, ps in players.items()}


def test_the_network_steps_first_and_the_critic_after_it(trainer: Trainer) -> None:
    before, between = _weights(trainer), {}
    later = trainer.method.later

    def spy(*arguments: object) -> dict[str, torch.Tensor]:
        between.update(_weights(trainer))
        return later(*arguments)  # type: ignore[arg-type]

    trainer.method.later = spy  # type: ignore[method-assign]
    row = trainer.train_step()
    after = _weights(trainer)
    assert not torch.equal(before["network"], between["network"])
    assert torch.equal(before["critic"], between["critic"])
    assert torch.equal(between["network"], after["network"])
    assert not torch.equal(between["critic"], after["critic"])
    assert {"term/fool", "term/critic", "weight/fool", "weight/critic"} <= row.keys()


def test_the_loss_logged_is_that_of_both_steps(trainer: Trainer) -> None:
    row = {name: float(value) for name, value in trainer.train_step().items()}
    terms = [name.removeprefix("term/") for name in row if name.startswith("term/")]
    expected = sum(row[f"term/{name}"] * row[f"weight/{name}"] for name in terms)
    assert row["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_second_step_resumes_to_the_same_bits(trainer: Trainer) -> None:
    trainer.train_step()
    trainer.save()
    trainer.train_step()
    whole = _weights(trainer)
    trainer.restore()
    assert trainer.step == 1
    trainer.train_step()
    again = _weights(trainer)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
