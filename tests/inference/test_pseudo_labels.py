"""Pseudo-labels of whole scans: by an ensemble, of confident voxels only, resumable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.inference.tools import SMALL, spec
from tests.whole import predict_probabilities
from torch import Tensor, nn

from simcvd.data.cache import Cache
from simcvd.inference.average import Averaged
from simcvd.inference.compute import Compute
from simcvd.inference.model import save_model
from simcvd.inference.pseudo_labels import (
    Labelling,
    label_unlabelled,
    pseudo_label,
    trusted_labels,
)
from simcvd.inference.sliding_window import Windows
from simcvd.networks.vnet import VNet
from simcvd.preprocessing import Preprocessing
from simcvd.types import SimcvdError

EXACT = Compute(precision="float32")
WINDOWS = Windows(patch=(8, 8, 8), stride=(4, 4, 4), classes=3)


def network_of(seed: int, bias: Sequence[float] = (0.0, 0.0, 0.0)) -> VNet:
    """A network of random weights that leans to some classes."""
    torch.manual_seed(seed)
    network = VNet(**SMALL)
    nn.init.normal_(network.class_head.weight, std=6.0)
    network.class_head.bias.data.add_(torch.tensor(bias))
    return network.eval()


def save(folder: Path, network: nn.Module, cache: Cache, **changes: object) -> Path:
    manifest = cache.manifest
    fitting = {
        "class_names": manifest.class_names,
        "label_values": manifest.label_values,
        "preprocessing": manifest.preprocessing,
    }
    save_model(folder, network, spec(**{**fitting, **changes}))
    return folder


@pytest.fixture
def models(small_cache: Cache, tmp_path: Path) -> list[Path]:
    """Two that differ, in the folders run0 and run1."""
    return [save(tmp_path / f"run{seed}", network_of(seed), small_cache) for seed in (0, 1)]


def stamps(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


def scan() -> Tensor:
    return torch.randn(1, 13, 11, 9, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("agree", [True, False])
def test_an_ensemble_is_trusted_where_it_is_sure_and_agrees(agree: bool) -> None:
    networks, image = [network_of(0), network_of(1), network_of(2)], scan()
    how = Labelling(threshold=0.5, agree=agree)
    labels, trusted = trusted_labels(networks, image, WINDOWS, how)
    each = [predict_probabilities(network, image, WINDOWS).numpy() for network in networks]
    counts = {"trusted": 0, "unsure": 0, "split": 0}
    for at in np.ndindex(labels.shape):
        shares = [probabilities[(slice(None), *at)] for probabilities in each]
        mean = sum(shares) / 3
        chosen = int(np.argmax(mean))
        split = any(np.argmax(own) != chosen for own in shares)
        assert labels[at] == chosen
        assert trusted[at] == (mean[chosen] >= 0.5 and not (agree and split))
        counts["trusted"] += trusted[at]
        counts["unsure"] += mean[chosen] < 0.5
        counts["split"] += split and mean[chosen] >= 0.5
    assert min(counts.values()) > 10


def test_files_hold_the_trusted_classes_on_the_grid_of_the_cache(
    small_cache: Cache, models: list[Path], tmp_path: Path
) -> None:
    how, cases = Labelling(threshold=0.6), small_cache.train[3:]
    out = label_unlabelled(models, small_cache, cases, tmp_path / "out", how=how, compute=EXACT)
    assert sorted(path.stem for path in out.glob("*.npy")) == sorted(cases)
    networks = [network_of(0), network_of(1)]
    windows = Windows(patch=(8, 8, 8), stride=(4, 4, 4), classes=3, tapered=True)
    for name in cases:
        image = torch.from_numpy(small_cache.case(name).image.astype(np.float32))
        labels, trusted = trusted_labels(networks, image, windows, how)
        found = pseudo_label(out, name)
        assert found.dtype == np.int8
        wrong = found != np.where(trusted, labels, -1)  # batch norms are folded: rounding
        assert wrong.mean() < 1e-3
        record = json.loads((out / f"{name}.json").read_text())
        assert record["trusted"] == pytest.approx((found >= 0).mean())
        assert record["trusted_by_class"] == pytest.approx([(found == k).mean() for k in range(3)])
        assert sum(record["predicted_by_class"]) == pytest.approx(1)


def test_members_are_mirrored_and_taken_back(
    small_cache: Cache, models: list[Path], tmp_path: Path
) -> None:
    (name,) = cases = small_cache.train[3:4]
    out = label_unlabelled(
        models[:1], small_cache, cases, tmp_path / "out", how=Labelling(threshold=0.5, flip="xz"),
        compute=EXACT,
    )  # fmt: skip
    image = torch.from_numpy(small_cache.case(name).image.astype(np.float32))
    windows = Windows(patch=(8, 8, 8), stride=(4, 4, 4), classes=3, tapered=True)
    mirrored = predict_probabilities(Averaged([network_of(0)], axes=(0, 2)), image, windows)
    plain = predict_probabilities(network_of(0), image, windows)

    def labels(probabilities: Tensor) -> np.ndarray:
        sure, label = probabilities.max(0)
        return torch.where(sure >= 0.5, label, -1).numpy()

    assert (pseudo_label(out, name) != labels(mirrored)).mean() < 1e-3
    assert (pseudo_label(out, name) != labels(plain)).mean() > 0.05


def test_a_second_call_labels_only_what_is_missing_or_was_made_otherwise(
    small_cache: Cache, models: list[Path], tmp_path: Path
) -> None:
    cases, out = small_cache.train[3:6], tmp_path / "out"
    first, second, third = cases
    label_unlabelled(models, small_cache, cases[:2], out)
    before = stamps(out)
    (out / f"{second}.npy").unlink()
    label_unlabelled(models, small_cache, cases, out)
    after = stamps(out)
    changed = {name for name, stamp in after.items() if before.get(name) != stamp}
    assert changed == {f"{name}.{kind}" for name in (second, third) for kind in ("npy", "json")}
    label_unlabelled(models, small_cache, cases, out, how=Labelling(threshold=0.9))
    assert not set(stamps(out).items()) & set(after.items())
    again = stamps(out)
    label_unlabelled(models[::-1], small_cache, [first], out, how=Labelling(threshold=0.9))
    assert {name for name, stamp in stamps(out).items() if again[name] != stamp} == {
        f"{first}.npy",
        f"{first}.json",
    }


def test_a_file_cut_short_is_made_again(
    small_cache: Cache, models: list[Path], tmp_path: Path
) -> None:
    (name,) = cases = small_cache.train[3:4]
    out = label_unlabelled(models, small_cache, cases, tmp_path / "out")
    path = out / f"{name}.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    label_unlabelled(models, small_cache, cases, out)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("bias", "threshold", "said"),
    [
        (
            (1e3, 0, 0),
            0.8,
            "find no foreground",
        ),
        (
            (4, 0, 0),
            0.95,
            "are sure of none of the foreground they find",
        ),
        ((0, 0, 0), 1.0, "are sure of no voxel"),
    ],
)
def test_cases_that_teach_nothing_are_named_and_labelling_goes_on(
    small_cache: Cache, tmp_path: Path, bias: Sequence[float], threshold: float, said: str
) -> None:
    model, heard = save(tmp_path / "run", network_of(0, bias), small_cache), []
    cases, how = small_cache.train[3:5], Labelling(threshold=threshold)
    for _ in range(2):  # once more on resuming
        label_unlabelled([model], small_cache, cases, tmp_path / "out", how=how, say=heard.append)
    first, second = heard
    assert first == second
    assert f"the models {said} in 2 of 2 scans: {cases[0]}, {cases[1]}. Lower" in first
    assert len(list((tmp_path / "out").glob("*.npy"))) == 2


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"class_names": {0: "background", 1: "wall", 2: "fat"}}, "its class names"),
        ({"preprocessing": Preprocessing(spacing=(1, 1, 1))}, "its preprocessing"),
    ],
)
def test_models_of_other_data_are_refused(
    small_cache: Cache, tmp_path: Path, changes: dict[str, object], what: str
) -> None:
    other = save(tmp_path / "other", network_of(0), small_cache, **changes)
    with pytest.raises(SimcvdError, match=what):
        label_unlabelled([other], small_cache, small_cache.train[3:], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_call_stopped_between_two_files_leaves_no_record_of_other_labels(
    small_cache: Cache, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = cases = small_cache.train[3:4]
    out = label_unlabelled(models, small_cache, cases, tmp_path / "out")
    wanted = pseudo_label(out, name).copy()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("simcvd.inference.pseudo_labels.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            label_unlabelled(models, small_cache, cases, out, how=Labelling(threshold=0.99))
    assert (pseudo_label(out, name) != wanted).any()
    label_unlabelled(models, small_cache, cases, out)
    assert np.array_equal(pseudo_label(out, name), wanted)


def test_a_threshold_beyond_one_is_refused() -> None:
    with pytest.raises(SimcvdError, match=r"method\.threshold is 1\.5; it must be"):
        Labelling(threshold=1.5)


def test_missing_labels_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="Re-run the same command"):
        pseudo_label(tmp_path, "case3")
