"""Protocols are frozen: what they fix cannot change unnoticed, and data must follow them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simcvd.benchmark.catalogue import PROTOCOLS, find_protocol
from simcvd.benchmark.check import check
from simcvd.benchmark.protocols import Protocol, changed, hash_of
from simcvd.checking.audit import CROPPED, leak
from simcvd.data.cache import Cache
from simcvd.layouts.recognise import recognise
from simcvd.training.recipes import find_recipe
from simcvd.training.settings import NetworkConfig, differences, override
from simcvd.types import SimcvdError

# Whoever changes a protocol must change its number here, and knows that results no longer match.
HASHES = {
    "la-published": "8496dfa093cf",
    "la-clean": "37a8533fc8c1",
    "la-half": "946359cf420a",
    "la-quarter": "a55cf21ccfa9",
    "pancreas-published": "7351aa72f757",
    "pancreas-clean": "bba7060b4711",
    "hippocampus": "8895d3094928",
    "acdc-strong": "d8c38f8b0920",
    "la-quarter-strong": "07afe8eb0d0e",
    "la-half-strong": "c461beaccfd6",
    "hippocampus-strong": "86b8c6ca321f",
}


def test_what_a_protocol_fixes_is_frozen() -> None:
    assert {name: protocol.hash() for name, protocol in PROTOCOLS.items()} == HASHES
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROTOCOLS["la-half"].stride = (1, 1, 1)  # type: ignore[misc]


def test_hash_is_the_same_in_another_process_and_after_json() -> None:
    code = "from simcvd.benchmark.catalogue import *; print(PROTOCOLS['la-clean'].hash())"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8"
    )
    assert done.stdout.strip() == HASHES["la-clean"]
    record = json.loads(json.dumps(PROTOCOLS["la-clean"].record()))
    assert hash_of(dict(reversed(record.items()))) == HASHES["la-clean"]


def test_prose_decides_nothing_and_every_other_field_does() -> None:
    protocol = PROTOCOLS["la-half"]
    assert dataclasses.replace(protocol, about="in other words").hash() == protocol.hash()
    others = {"iterations": 10, "stride": (8, 8, 8), "noise": 2.0, "seeds": (0,), "crop": "none"}
    hashes = {dataclasses.replace(protocol, **{k: v}).hash() for k, v in others.items()}
    assert len(hashes | {protocol.hash()}) == len(others) + 1


def test_paper_values_of_the_published_protocols() -> None:
    la, pancreas = PROTOCOLS["la-published"], PROTOCOLS["pancreas-published"]
    assert (la.patch, la.stride, la.iterations) == ((112, 112, 80), (18, 18, 4), 6000)
    assert (pancreas.patch, pancreas.stride) == ((96, 96, 96), (16, 16, 16))
    assert pancreas.window == (-125, 275)
    for protocol in (la, pancreas):
        assert (protocol.lr, protocol.weight_decay, protocol.batch) == (0.01, 5e-4, 4)
        assert protocol.augmentation == "published"
        assert protocol.metrics[2] == "asd_prediction_to_reference_voxels"
    for name in ("la-clean", "pancreas-clean"):
        clean = PROTOCOLS[name]
        assert (clean.crop, clean.augmentation, clean.comparable) == ("none", "fixed", False)
        assert len(clean.seeds) > 1
        assert all(metric.endswith("_mm") for metric in clean.metrics[2:])


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_settings_are_those_that_training_takes(protocol: Protocol) -> None:
    recipe = find_recipe(protocol.recipe)
    groups = {"train": recipe.train, "augment": recipe.augment, "network": NetworkConfig()}
    configs = override(groups, protocol.settings())
    train, network = configs["train"], configs["network"]
    assert (train.iterations, train.patch) == (protocol.iterations, protocol.patch)
    assert (train.augmentation, train.lr_every) == (protocol.augmentation, protocol.lr_every)
    assert (train.base, configs["augment"].mirror) == (protocol.base, protocol.mirror)
    assert (network.widths, network.dropout) == (protocol.widths, protocol.network_dropout)
    small = protocol.name.startswith(("hippocampus", "la-quarter", "acdc"))
    assert (network == NetworkConfig()) == (not small)  # the paper's V-Net


def test_a_recipe_other_than_the_paper_s_is_part_of_the_hash() -> None:
    """What the recipe sets is hashed with all its values; the paper's fields are not there."""
    strong = find_protocol("la-quarter-strong")
    record = strong.record()
    assert record["recipe"]["train"]["optimizer"] == "adamw"
    assert "lr" not in record
    assert "recipe" not in find_protocol("la-quarter").record()
    assert dataclasses.replace(strong, base=10).hash() != strong.hash()
    assert dataclasses.replace(strong, lr=1.0).hash() == strong.hash()  # not its own


def test_a_changed_protocol_says_so() -> None:
    half = find_protocol("la-half")
    other = changed(half, iterations=300, holdout=10)
    assert other.name == "la-half+iterations=300,holdout=10"
    assert (half.split_scored, other.split_scored) == ("test", "holdout")
    assert changed(half, iterations=half.iterations) is half
    assert differences(half.record(), other.record()) == [
        "holdout: 0 -> 10",
        "iterations: 3000 -> 300",
        "name: 'la-half' -> 'la-half+iterations=300,holdout=10'",
    ]
    with pytest.raises(SimcvdError, match="did you mean iterations"):
        changed(half, iteration=300)


def test_an_unknown_protocol_is_refused_with_the_near_misses() -> None:
    with pytest.raises(SimcvdError, match="did you mean la-half"):
        find_protocol("la-hlaf")


def test_data_must_follow_the_protocol(small_cache: Cache) -> None:
    with pytest.raises(SimcvdError, match="training scans: 6 in") as caught:
        check(find_protocol("la-half"), small_cache, [])
    text = str(caught.value)
    assert "test scans: 2 in" in text
    assert "spacing: (1.0, 1.0, 2.0) mm" in text
    assert "--spacing 1.25" in text
    fitting = changed(
        find_protocol("hippocampus"), train_scans=6, test_scans=2, spacing=(1.0, 1.0, 2.0)
    )
    fitting = changed(fitting, normalization=small_cache.manifest.preprocessing.normalization)
    check(fitting, small_cache, [])
    cropped = leak(CROPPED, "the scans look cropped")
    check(fitting, small_cache, [cropped])
    with pytest.raises(SimcvdError, match="the scans look cropped"):
        check(changed(fitting, crop="none"), small_cache, [cropped])
    with pytest.raises(SimcvdError, match=r"crop: none in .*, label in the protocol\n.*margin: "):
        check(changed(fitting, margin=(25, 25, None)), small_cache, [])


def test_the_lists_of_scans_are_fixed_and_leave_the_hashes_as_they_were() -> None:
    lists = {name: protocol.lists for name, protocol in PROTOCOLS.items()}
    la = "cdf040ee5a97"
    assert lists == {
        **dict.fromkeys(("la-published", "la-clean", "la-half", "la-quarter"), la),
        **dict.fromkeys(("pancreas-published", "pancreas-clean"), None),
        **dict.fromkeys(("la-quarter-strong", "la-half-strong"), la),
        **dict.fromkeys(("hippocampus", "hippocampus-strong"), "a82cde130ec2"),
        "acdc-strong": "52c1d8baff3f",
    }
    half = dataclasses.replace(PROTOCOLS["la-half"], lists=None)
    assert half.hash() == HASHES["la-half"]
    assert "lists" not in half.record()


def test_committed_results_carry_the_records_of_today() -> None:
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    today = {
        "hippocampus": PROTOCOLS["hippocampus"],
        "la-quarter": PROTOCOLS["la-quarter"],
        "la-quarter-holdout": changed(PROTOCOLS["la-quarter"], holdout=32),
    }
    for folder, protocol in today.items():
        kept = json.loads((results / folder / "protocol.json").read_text(encoding="utf-8"))
        assert (kept["protocol"], kept["hash"]) == (protocol.record(), protocol.hash())


def listing(cache: Cache, train: list[str], test: list[str]) -> Cache:
    """A cache of the protocol's grid and recipe, with these names."""
    protocol = PROTOCOLS["hippocampus"]
    other = Cache(cache.root)
    done = dataclasses.replace(cache.manifest.preprocessing, normalization=protocol.normalization)
    other.manifest = dataclasses.replace(
        cache.manifest,
        train=tuple(train),
        test=tuple(test),
        spacing=protocol.spacing,
        preprocessing=done,
    )
    return other


def turned(train: list[str], test: list[str]) -> None:
    train[4], train[5] = train[5], train[4]


def dealt_anew(train: list[str], test: list[str]) -> None:
    train[3], test[0] = test[0], train[3]


def renamed_test(train: list[str], test: list[str]) -> None:
    test[1] = "mine"


@pytest.mark.parametrize("change", [turned, dealt_anew, renamed_test])
def test_as_many_scans_in_other_lists_are_refused(
    small_cache: Cache, change: Callable[[list[str], list[str]], None]
) -> None:
    lists = {"train": list("abcdef"), "test": list("xy")}
    protocol = changed(PROTOCOLS["hippocampus"], train_scans=6, test_scans=2, lists=hash_of(lists))
    check(protocol, listing(small_cache, **lists), [])
    change(**lists)
    other = listing(small_cache, **lists)
    with pytest.raises(SimcvdError, match=rf"digest {hash_of(lists)}, not {protocol.lists}.*=None"):
        check(protocol, other, [])
    own = changed(PROTOCOLS["hippocampus"], lists=None)
    assert own.name == "hippocampus+lists=None"
    assert own.hash() != PROTOCOLS["hippocampus"].hash()  # so never in one table with it
    check(changed(protocol, lists=None), other, [])


def test_a_changed_split_takes_its_digest_along() -> None:
    protocol = PROTOCOLS["hippocampus"]
    assert changed(protocol, holdout=24).lists == protocol.lists
    assert changed(protocol, train_scans=160).lists == protocol.lists  # nothing is changed
    for other in ({"train_scans": 6}, {"test_scans": 2}, {"split": "mine"}):
        assert changed(protocol, **other).lists is None
    assert changed(protocol, split="mine", lists="0123456789ab").lists == "0123456789ab"


@pytest.mark.parametrize(("source", "name"), [("la2018", "la-half"), ("hippocampus",) * 2])
def test_the_lists_are_those_of_the_real_scans(shared_data: Path, source: str, name: str) -> None:
    scans = recognise(shared_data / source)
    lists = {"train": scans.train, "test": scans.test}
    assert hash_of(lists) == PROTOCOLS[name].lists
