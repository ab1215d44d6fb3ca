"""Recipes from the outside, and their parts by numbers worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from tests.small import LABELED, NETWORK, TRAIN, make_cache
from torch import nn

from simcvd.data.cache import Cache
from simcvd.data.sampler import Patches, TwoStreams, Views, foreground_voxels
from simcvd.inference.model import weights_digest
from simcvd.methods.base import Average
from simcvd.training.ema import shares_of, update_averages
from simcvd.training.loop import Trainer, train
from simcvd.training.optim import clip_gradients, rate_factor, run_optimizer
from simcvd.training.recipes import PAPER, RECIPES, STRONG, find_recipe
from simcvd.training.run import base_of, completed, open_folder, resolve
from simcvd.training.settings import TrainConfig
from simcvd.training.start import average_runs, read_start
from simcvd.types import SimcvdError

SMALL = [
    f"network.widths={NETWORK.widths}",
    f"network.blocks={NETWORK.blocks}",
    f"network.strides={NETWORK.strides}",
    f"train.patch={TRAIN.patch}",
    "train.average=0.5",
    "train.base=3",
    "train.iterations=4",
]


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def _same(a: Path, b: Path) -> bool:
    first, second = _weights(a), _weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def _trainer(cache: Cache, out: Path, method: str = "supervised", *settings: str) -> Trainer:
    run = resolve(
        cache, method=method, labeled=LABELED, settings=[*SMALL, *settings], recipe=STRONG
    )
    return Trainer(Fabric(accelerator="cpu", devices=1), run, cache, out)


@pytest.mark.parametrize(
    ("config", "factors"),
    [
        # Half a cosine from 1 to 0.2: 0.2 + 0.8 (1 + cos(pi t)) / 2; a quarter of the way 0.8828.
        (
            TrainConfig(iterations=8, schedule="cosine", floor=0.2),
            {0: 1.0, 2: 0.6 + 0.4 * math.sqrt(0.5), 4: 0.6, 6: 0.6 - 0.4 * math.sqrt(0.5)},
        ),
        # Two steps up, then the cosine over the other eight.
        (
            TrainConfig(iterations=10, schedule="cosine", warmup=2),
            {0: 0.5, 1: 1.0, 2: 1.0, 6: 0.5},
        ),
        (TrainConfig(iterations=10, schedule="poly"), {0: 1.0, 5: 0.5**0.9}),
        (TrainConfig(iterations=10, schedule="poly", floor=0.6), {5: 0.6}),
        (TrainConfig(iterations=10, schedule="constant"), {0: 1.0, 9: 1.0}),
        (TrainConfig(iterations=9), {0: 1.0, 4: 1.0, 5: 0.1}),
    ],
)
def test_the_rate_falls_as_scheduled(config: TrainConfig, factors: dict[int, float]) -> None:
    for step, factor in factors.items():
        assert rate_factor(config, step) == pytest.approx(factor)


def test_an_average_with_statistics_takes_the_running_mean_along() -> None:
    """At the second step d = min(1 - 1/2, 0.9) = 0.5: half-way between 0 and 4."""
    mean, source = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    with torch.no_grad():
        source.weight.fill_(5.0)  # from 1
        source.running_mean.fill_(4.0)  # type: ignore[union-attr]
    averages = [Average(mean, source, 0.9, statistics=True)]
    update_averages(averages, shares_of(averages, step=1))
    assert (mean.weight.item(), mean.running_mean.item()) == (3.0, 2.0)  # type: ignore[union-attr]
    alone = nn.BatchNorm1d(1)
    update_averages([Average(alone, source, 0.9)], [0.5])
    assert alone.running_mean.item() == 0.0  # type: ignore[union-attr]


def test_gradients_are_clipped_to_their_norm_together() -> None:
    """A gradient (3, 4) has norm 5; clipped to 1 it is (0.6, 0.8)."""
    parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    for parameter, gradient in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad = torch.tensor([gradient])
    clip_gradients([torch.optim.SGD(parameters, lr=1.0)], 1.0)
    assert [p.grad.item() for p in parameters] == pytest.approx([0.6, 0.8])  # type: ignore[union-attr]


def test_adamw_takes_the_decay_from_the_weights() -> None:
    """Without a gradient AdamW multiplies by 1 - lr * decay = 1 - 0.1 * 0.5."""
    weight = nn.Parameter(torch.ones(1))
    config = TrainConfig(optimizer="adamw", lr=0.1, weight_decay=0.5)
    optimizer = run_optimizer([weight], config)
    weight.grad = torch.zeros(1)
    optimizer.step()
    assert weight.item() == pytest.approx(0.95)


def test_labelled_and_unlabelled_patches_are_chosen_apart() -> None:
    assert PAPER.train.patches(uses_unlabeled=True) == (2, 2)
    assert PAPER.train.patches(uses_unlabeled=False) == (4, 0)
    assert STRONG.train.patches(uses_unlabeled=True) == (4, 2)
    assert STRONG.train.patches(uses_unlabeled=False) == (4, 0)  # no labelled patch more or less


def test_patches_are_centred_on_foreground(small_cache: Cache) -> None:
    """The balls of class 2 are 2.5 voxels in radius: patches of 4 voxels miss most of them."""
    names = small_cache.train[:LABELED]
    streams = TwoStreams(labeled=names, unlabeled=(), batch=(2, 0), seed=0)
    found = {}
    for chance in (0.0, 1.0):
        views = Views(patch=(4, 4, 2), foreground=chance, distance=False)
        patches = Patches(small_cache, streams, views, torch.device("cpu"))
        labels = [label for step in range(50) for label in patches.batch(step).label]
        found[chance] = np.mean([bool(label.any()) for label in labels])
    assert found[1.0] == 1.0
    assert found[0.0] < 0.8


def test_remembered_voxels_are_those_of_each_class() -> None:
    label = np.zeros((3, 3, 3), np.uint8)
    label[0, 1, 2], label[2, 2, 2] = 1, 3  # no class 2
    assert [voxels.tolist() for voxels in foreground_voxels(label)] == [[[0, 1, 2]], [[2, 2, 2]]]


def test_a_run_whose_scans_were_prepared_anew_says_so(small_cache: Cache, tmp_path: Path) -> None:
    """Two hashes alone tell nobody what has changed."""
    run = _trainer(small_cache, tmp_path / "run").run
    open_folder(tmp_path / "run", run, small_cache)
    anew = Cache(small_cache.root)
    anew.manifest = replace(anew.manifest, data_hash="0" * 64)
    with pytest.raises(SimcvdError, match=r"Since it began, .* prepare it as it was .*--out"):
        open_folder(tmp_path / "run", run, anew)
    other = _trainer(small_cache, tmp_path / "run", "supervised", "train.lr=7").run
    with pytest.raises(SimcvdError, match=r"lr: .*\nRe-run with the original settings"):
        open_folder(tmp_path / "run", other, small_cache)


def test_killed_in_its_base_or_after_it_a_run_ends_with_the_same_bits(
    small_cache: Cache, tmp_path: Path
) -> None:
    def run(out: Path) -> Path:
        return train(small_cache.root, out, method="mean_teacher", labeled=LABELED, settings=SMALL,
                     recipe=STRONG)  # fmt: skip

    whole, killed = run(tmp_path / "whole"), tmp_path / "killed"
    trainer = _trainer(small_cache, killed, "mean_teacher")
    open_folder(killed, trainer.run, small_cache)
    base = Trainer(trainer.fabric, base_of(trainer.run), small_cache, killed / "base")
    open_folder(base.out, base.run, small_cache)
    base.train_step()
    base.save()  # what a kill in the base leaves
    assert _same(whole, run(killed))
    (killed / "model.json").unlink()  # what a kill before the model was whole leaves
    assert _same(whole, run(killed))
    assert _same(whole / "base", killed / "base")


def test_the_first_weights_are_the_base_s_in_every_network(
    small_cache: Cache, tmp_path: Path
) -> None:
    train(small_cache.root, tmp_path / "run", method="supervised", labeled=LABELED,
          settings=[*SMALL, "train.base=0"], recipe=STRONG)  # fmt: skip
    start = read_start(tmp_path / "run")
    trainer = _trainer(small_cache, tmp_path / "next", "simcvd", "method.pool=8")
    fresh = trainer.start_from([start])
    assert "distance_head starts fresh: it is not in that model" in fresh
    wanted = _weights(tmp_path / "run")
    for network in (trainer.method.network, trainer.method.teacher, trainer.tested):
        state = network.state_dict()  # type: ignore[union-attr]
        assert all(torch.equal(state[name], value) for name, value in wanted.items())


def test_two_networks_start_from_two_bases(small_cache: Cache, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(small_cache.root, out, method="cps", labeled=LABELED,
          settings=[*SMALL, "train.seed=7"], recipe=STRONG)  # fmt: skip
    bases = [_weights(out / name) for name in ("base", "base_1")]
    assert not torch.equal(bases[0]["class_head.weight"], bases[1]["class_head.weight"])
    record = json.loads((out / "base_1" / "config.json").read_text())
    assert record["run"]["train"]["seed"] == 1007
    trainer = _trainer(small_cache, tmp_path / "next", "cps")
    assert not trainer.start_from([read_start(out / name) for name in ("base", "base_1")])
    for network, wanted in zip(trainer.method.built, bases, strict=True):
        state = network.state_dict()
        assert all(torch.equal(state[name], value) for name, value in wanted.items())


def test_a_network_without_a_model_of_its_own_stays_as_it_was(
    small_cache: Cache, tmp_path: Path
) -> None:
    train(small_cache.root, tmp_path / "run", method="supervised", labeled=LABELED,
          settings=[*SMALL, "train.base=0"], recipe=STRONG)  # fmt: skip
    start = read_start(tmp_path / "run")
    trainer = _trainer(small_cache, tmp_path / "next", "cps")
    second = trainer.method.built[1].state_dict()["class_head.weight"].clone()
    assert trainer.start_from([start]) == (
        "1 network of 2 starts fresh: --init names no model for it"
    )
    assert torch.equal(trainer.method.built[1].state_dict()["class_head.weight"], second)
    with pytest.raises(SimcvdError, match="names 2 models, and the method has 1 network"):
        _trainer(small_cache, tmp_path / "more").start_from([start, start])


def test_an_ensemble_of_bases_labels_for_self_training(small_cache: Cache, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(small_cache.root, out, method="self_training", labeled=LABELED,
          settings=SMALL, recipe=STRONG)  # fmt: skip
    bases = [out / name for name in ("base", "base_1", "base_2")]
    labelled = [json.loads(p.read_text()) for p in (out / "pseudo_labels").glob("*.json")]
    assert labelled
    for record in labelled:
        assert record["models"] == [weights_digest(base) for base in bases]
    assert len({*labelled[0]["models"]}) == 3


def test_what_is_exported_is_the_average(small_cache: Cache, tmp_path: Path) -> None:
    """Followed by hand: after four steps with d = 0, 1/2, 1/2, 1/2."""
    trainer = _trainer(small_cache, tmp_path / "run", "supervised", "train.base=0")
    mean = None
    for step in range(4):
        trainer.train_step()
        now = {n: v.clone() for n, v in trainer.method.network.state_dict().items()}
        share = 1.0 if step == 0 else 0.5
        mean = now if mean is None else {n: mean[n] + share * (now[n] - mean[n]) for n in now}
    assert mean is not None
    tested = trainer.tested.state_dict()
    for name, value in mean.items():
        if tested[name].is_floating_point():
            torch.testing.assert_close(tested[name], value)
    assert not torch.equal(tested["class_head.bias"], now["class_head.bias"])


def test_strong_runs_resume_with_the_same_bits(small_cache: Cache, tmp_path: Path) -> None:
    flags = ("train.clip=0.5", "train.foreground=0.5", "augment.low_resolution_chance=0.5")
    whole = _trainer(small_cache, tmp_path / "whole", "mean_teacher", *flags)
    for _ in range(4):
        whole.train_step()
    first = _trainer(small_cache, tmp_path / "stopped", "mean_teacher", *flags)
    for _ in range(2):
        first.train_step()
    first.save()
    second = _trainer(small_cache, tmp_path / "stopped", "mean_teacher", *flags)
    second.restore()
    for _ in range(2):
        second.train_step()
    for a, b in ((whole.method, second.method), (whole.tested, second.tested)):
        states = a.state_dict(), b.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_mean_of_two_runs(small_cache: Cache, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(small_cache.root, tmp_path / str(seed), method="supervised", labeled=LABELED,
              settings=[*SMALL, "train.base=0", f"train.seed={seed}"],
              recipe=STRONG)  # fmt: skip
    average_runs([tmp_path / "0", tmp_path / "1"], tmp_path / "mean")
    first, second, mean = (_weights(tmp_path / name) for name in ("0", "1", "mean"))
    for name, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (first[name] + second[name]) / 2)
    record = json.loads((tmp_path / "mean" / "config.json").read_text())
    assert len(record["mean_of"]) == 2


def test_a_model_of_other_classes_keeps_all_but_its_head(
    small_cache: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small_cache.root, tmp_path / "run", method="supervised", labeled=LABELED,
          settings=[*SMALL, "train.base=0"], recipe=STRONG)  # fmt: skip
    fewer = make_cache(tmp_path / "fewer", classes=2)
    capsys.readouterr()
    train(fewer.root, tmp_path / "next", method="supervised", labeled=LABELED,
          settings=[*SMALL, "train.base=0"], recipe=STRONG, init=[tmp_path / "run"])  # fmt: skip
    said = capsys.readouterr().out
    assert "class_head starts fresh: it has shape [3] there and [2] here" in said
    record = json.loads((tmp_path / "next" / "config.json").read_text())
    assert len(record["run"]["init"]) == 64


def test_a_start_from_another_network_is_refused_with_the_difference(
    small_cache: Cache, tmp_path: Path
) -> None:
    train(small_cache.root, tmp_path / "run", method="supervised", labeled=LABELED,
          settings=[*SMALL, "train.base=0"], recipe=STRONG)  # fmt: skip
    other = [*SMALL, "network.widths=(4,8,16)"]
    with pytest.raises(SimcvdError, match=r"widths: \(4, 8, 8\) there, \(4, 8, 16\) here"):
        train(small_cache.root, tmp_path / "next", method="supervised", labeled=LABELED,
              settings=other, recipe=STRONG, init=[tmp_path / "run"])  # fmt: skip
    assert not (tmp_path / "next").exists()


def test_recipes_are_found_by_name() -> None:
    assert find_recipe("strong") is STRONG
    with pytest.raises(SimcvdError, match="no recipe 'storng'; did you mean strong"):
        find_recipe("storng")
    assert set(RECIPES) == {"paper", "strong"}


def test_the_paper_s_recipe_is_the_defaults() -> None:
    """A setting that is younger than a run must not change what the run was."""
    assert PAPER.train == TrainConfig()
    assert not PAPER.augment.spatial
    assert not PAPER.augment.intensity


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.warmup=6"], r"train\.warmup is 6 of 6 iterations"),
        (["train.average=0.9"], r"a memory of 10 steps, and the run has 6"),
        (["train.nesterov=True", "train.optimizer=adamw"], "SGD's momentum"),
        (["train.foreground=2"], r"train\.foreground is 2"),
        (["train.averge=0.5"], r"no 'train\.averge'.*train\.average"),
        (["augment.gama=0.5"], r"no 'augment\.gama'.*augment\.gamma"),
    ],
)
def test_what_does_not_fit_is_refused(
    small_cache: Cache, settings: list[str], message: str
) -> None:
    with pytest.raises(SimcvdError, match=message):
        resolve(small_cache, method="supervised", labeled=LABELED, train=TRAIN, network=NETWORK,
                settings=settings)  # fmt: skip


def test_a_record_from_before_there_were_recipes_is_the_paper_s(small_cache: Cache) -> None:
    run = resolve(small_cache, method="dtc", labeled=LABELED, train=TRAIN, network=NETWORK)
    record = run.record()
    for name in ("recipe", "augment", "init"):
        del record[name]
    for name in ("base", "schedule", "fold", "clip"):
        del record["train"][name]
    assert completed(record) == completed(run.record())


def test_a_short_run_has_a_short_base_and_no_average_that_cannot_fill(small_cache: Cache) -> None:
    """0.99 remembers 100 steps; what is asked for by name is kept."""

    def train_of(*settings: str) -> TrainConfig:
        run = resolve(
            small_cache,
            method="supervised",
            labeled=LABELED,
            network=NETWORK,
            recipe=STRONG,
            settings=[f"train.patch={TRAIN.patch}", *settings],
        )
        return run.train

    short, whole = train_of("train.iterations=20"), train_of()
    assert (short.iterations, short.base, short.average) == (20, 20, 0.0)
    assert (whole.base, whole.average) == (STRONG.train.base, 0.99)
    assert train_of("train.iterations=100").average == 0.99
    own = train_of("train.iterations=20", "train.base=7", "train.average=0.5")
    assert (own.base, own.average) == (7, 0.5)
