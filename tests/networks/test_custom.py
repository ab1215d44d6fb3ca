"""A network of the caller's own in place of the V-Net: trained, resumed, loaded, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.small import LABELED, TRAIN
from torch import Tensor, nn

import simcvd
from simcvd.data.cache import Cache
from simcvd.methods.registry import names
from simcvd.networks.build import CustomNetwork
from simcvd.training.loop import train
from simcvd.training.run import resolve
from simcvd.training.setup import build_method, precision_of
from simcvd.types import Prediction, SimcvdError

SETTINGS = ("train.precision=float32", "method.pool=8", "method.hidden=16")


class Plain(nn.Module):
    """One halving, and heads on what is brought back to full size."""

    def __init__(self, *, channels: int, classes: int, distance: bool) -> None:
        super().__init__()
        self.down = nn.Conv3d(channels, 4, 2, stride=2)
        self.up = nn.ConvTranspose3d(4, 2 * classes - 1, 2, stride=2)
        self.classes, self.distance = classes, distance

    def forward(self, x: Tensor) -> Prediction:
        features = self.down(x).relu()
        logits, maps = self.up(features).tensor_split((self.classes,), 1)
        distance = maps.tanh() if self.distance else None
        return Prediction(logits=logits, distance=distance, features=features)


def other(*, channels: int, classes: int, distance: bool) -> nn.Module:
    return Plain(channels=channels, classes=classes, distance=distance)


class Special(nn.Conv3d):
    """A layer that nobody but its author can tell from another."""


def special(*, channels: int, classes: int, distance: bool) -> nn.Module:
    network = Plain(channels=channels, classes=classes, distance=distance)
    network.down = Special(channels, 4, 2, stride=2)
    return network


def without_maps(*, channels: int, classes: int, distance: bool) -> nn.Module:
    return Plain(channels=channels, classes=classes, distance=False)


def only_a_tensor(*, channels: int, classes: int, distance: bool) -> nn.Module:
    return nn.Conv3d(channels, classes, 1)


def too_few_classes(*, channels: int, classes: int, distance: bool) -> nn.Module:
    return Plain(channels=channels, classes=classes - 1, distance=distance)


def fails(*, channels: int, classes: int, distance: bool) -> nn.Module:
    raise KeyError("depth")


def takes_other_names(depth: int) -> nn.Module:
    return nn.Conv3d(depth, 1, 1)


class NoNetwork:
    """Takes whatever is given."""

    def __init__(self, **_: object) -> None:
        pass


class FailsInUse(Plain):
    """Sound until it is asked for something."""

    def forward(self, x: Tensor) -> Prediction:
        raise IndexError("no such layer")


def _trained(cache: Cache, out: Path) -> Path:
    return train(cache.root, out, labeled=LABELED, settings=SETTINGS, train=TRAIN, network=Plain)


@pytest.mark.parametrize("method", [name for name in names() if name != "chaitanya"])
def test_every_other_method_trains_it(small_cache: Cache, method: str) -> None:
    run = resolve(
        small_cache,
        method=method,
        labeled=LABELED,
        train=TRAIN,
        network=CustomNetwork(factory=Plain),
    )
    built = build_method(run)
    assert isinstance(built.network, Plain)
    assert built.distance == built.network.distance
    for average, source, *_ in built.averages():
        pairs = zip(average.parameters(), source.parameters(), strict=True)
        assert all(a is not s and torch.equal(a, s) for a, s in pairs)


def test_on_a_cpu_it_trains_in_float32_if_a_layer_is_of_its_own_kind(small_cache: Cache) -> None:
    cpu = torch.device("cpu")

    def precision(network: CustomNetwork | None, *settings: str) -> str:
        run = resolve(
            small_cache, method="supervised", labeled=LABELED, settings=settings, network=network
        )
        return precision_of(run, build_method(run), cpu)

    custom = CustomNetwork(factory=special)
    assert precision(custom) == "float32"
    assert precision(custom, "train.precision=bfloat16") == "bfloat16"
    assert precision(CustomNetwork(factory=Plain)) == "auto"
    assert precision(None) == "auto"


def test_chaitanya_refuses_it(small_cache: Cache) -> None:
    custom = CustomNetwork(factory=Plain)
    run = resolve(small_cache, method="chaitanya", labeled=LABELED, train=TRAIN, network=custom)
    with pytest.raises(SimcvdError, match=r"derive Plain from simcvd\.networks\.base\.Staged"):
        build_method(run)


def test_trained_recorded_resumed_and_loaded_with_its_factory_only(
    small_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _trained(small_cache, tmp_path / "whole")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["run"]["network"] == {"factory": f"{__name__}:Plain"}

    from simcvd.training import loop

    train_step, steps = loop.Trainer.train_step, []

    def three_steps(self: loop.Trainer) -> dict[str, float | Tensor]:
        if len(steps) == 3:
            self.save()
            raise KeyboardInterrupt
        steps.append(self.step)
        return train_step(self)

    monkeypatch.setattr(loop.Trainer, "train_step", three_steps)
    with pytest.raises(KeyboardInterrupt):
        _trained(small_cache, tmp_path / "stopped")
    monkeypatch.undo()
    resumed = _trained(small_cache, tmp_path / "stopped")
    weights = (run / "model.safetensors").read_bytes()
    assert (resumed / "model.safetensors").read_bytes() == weights

    model = simcvd.load_model(run, network=Plain)
    assert isinstance(model.network, Plain)
    assert model.network.distance  # SimCVD asked for it
    with pytest.raises(SimcvdError, match=r"made by .*:Plain, whose code no model file holds"):
        simcvd.load_model(run)
    with pytest.raises(SimcvdError, match=r"made by .*Plain, and not by .*other"):
        simcvd.load_model(run, network=other)
    exported = simcvd.export(run, tmp_path / "model.zip", network=f"{__name__}:Plain").path
    scan, affine = torch.randn(20, 18, 12).numpy(), np.diag([1.0, 1.0, 2.0, 1.0])
    with pytest.raises(SimcvdError, match=f"--network {__name__}:Plain"):
        simcvd.predict(exported, scan, affine=affine)
    labels = simcvd.predict(exported, scan, affine=affine, network=f"{__name__}:Plain")
    assert np.array_equal(labels, simcvd.predict(model, scan, affine=affine))
    scored = simcvd.score_run(run, quiet=True, network=Plain)
    assert (scored / "metrics.json").exists()


def test_a_vnet_is_not_loaded_into_something_else(small_cache: Cache, tmp_path: Path) -> None:
    from tests.small import NETWORK

    run = simcvd.train(
        small_cache,
        tmp_path / "run",
        labeled=LABELED,
        method="supervised",
        recipe="paper",
        network=NETWORK,
        settings={"train.iterations": 1, "train.patch": TRAIN.patch},
    )
    with pytest.raises(SimcvdError, match="leave network out"):
        simcvd.load_model(run, network=Plain)


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [
        (without_maps, r"distance is None; it must be \[1, 2, 16, 16, 8\]"),
        (only_a_tensor, "answered with Tensor"),
        (fails, r":fails: fails with \{.*KeyError: 'depth'"),
        (takes_other_names, r":takes_other_names: fails with .*TypeError: .*as keywords"),
        (NoNetwork, r":NoNetwork: makes a NoNetwork; give one that makes a torch\.nn\.Module"),
        (FailsInUse, r"cannot take a patch \[1, 1, 16, 16, 8\] \(IndexError: no such layer\)"),
        (too_few_classes, r"logits is \[1, 2, 16, 16, 8\]; it must be \[1, 3"),
    ],
)
def test_a_network_that_answers_otherwise_is_refused(
    small_cache: Cache, factory: object, complaint: str
) -> None:
    run = resolve(
        small_cache,
        method="simcvd",
        labeled=LABELED,
        train=TRAIN,
        network=CustomNetwork(factory=factory),  # type: ignore[arg-type]
    )
    with pytest.raises(SimcvdError, match=complaint):
        build_method(run)
