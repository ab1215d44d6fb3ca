"""A saved model comes back whole, or is refused by name; nothing in it is ever run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import time
from pathlib import Path

import pytest
import torch
from tests.inference.tools import small_vnet, spec

from simcvd.inference.model import DESCRIPTION, WEIGHTS, load_model, save_model
from simcvd.types import SimcvdError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "run", small_vnet(), spec())
    return tmp_path / "run"


def edit(folder: Path, **changes: object) -> None:
    path = folder / DESCRIPTION
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_round_trip_keeps_every_bit(folder: Path) -> None:
    loaded = load_model(folder)
    assert loaded.spec == spec()
    assert not loaded.network.training
    saved = small_vnet().state_dict()
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, saved[name]), name
    assert sorted(p.name for p in folder.iterdir()) == [DESCRIPTION, WEIGHTS]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shade": 3}, "there is no 'shade'; did you mean"),
        ({"stride": None, "patch": None}, "patch, stride missing"),
        ({"format": 99}, "has format 99, this version of simcvd reads 1"),
        (
            {"preprocessing": {"spacing": None, "colour": 1}},
            r"no 'colour' in preprocessing; .*normalization, window missing in pre",
        ),
        ({"patch": [8, 8]}, r"patch is \[8, 8\]"),
        ({"stride": [0, 1, 1]}, r"stride is \[0, 1, 1\]"),
        ({"class_names": {"0": "background"}}, "class_names has the classes"),
        (
            {"label_values": {"0": 0, "1": 1.5, "2": 2}},
            r"label_values\[\.\.\.\]: expected int, got float",
        ),
        ({"network": {"channels": 1, "classes": 3, "depth": 9}}, "there is no 'depth'; did you"),
        ({"network": {"channels": 1, "classes": 3}}, "is not a model that this version"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    edit(folder, **changes)
    with pytest.raises(SimcvdError, match=message):
        load_model(folder)


def test_damaged_weights_are_refused(folder: Path) -> None:
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-3] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    with pytest.raises(SimcvdError, match="not the file that"):
        load_model(folder)


FEW = {"channels": 1, "classes": 3}
PLAIN = {"spacing": None, "normalization": "none", "window": None}


def test_every_flipped_bit_of_a_description_is_noticed(folder: Path) -> None:
    path = folder / DESCRIPTION
    whole = path.read_bytes()
    harmless = 0
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert load_model(folder).spec == spec()
            harmless += 1  # white space between the values, as a rule
        except SimcvdError:
            pass
    assert harmless < len(whole) / 7 / 4
    content = json.loads(whole)
    del content["digest"]
    path.write_text(json.dumps(content))
    assert load_model(folder).spec == spec()  # as before there was one


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network": {**FEW, "widths": [4, 8], "blocks": [1, 10**8]}},
            "layers",
        ),
        (
            {"network": {**FEW, "widths": [4] * 99, "blocks": [1]}},
            "99 stages",
        ),
        ({"network": {**FEW, "widths": "wide"}}, "whole numbers"),
        ({"network": {**FEW, "channels": -1}}, "whole numbers"),
        ({"network": [1]}, r"network is \[1\]: expected object, got array"),
        ({"label_values": {"0": 0, "1": 10**30, "2": 2}}, "whole number of 32 bits"),
        (
            {"preprocessing": {**PLAIN, "spacing": [1e-9, 1, 1]}},
            r"at least 0\.001 and at most 1000",
        ),
        ({"class_names": {"0": "a", "1": {"deep": []}, "x": "c"}}, "class_names"),
        ({"patch": [10**6, 1000, 8]}, "patch"),
    ],
)
def test_a_stranger_s_description_costs_nothing(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    started = time.monotonic()
    edit(folder, **changes, digest=None)
    with pytest.raises(SimcvdError, match=message):
        load_model(folder)
    assert time.monotonic() - started < 5


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_a_pickle_in_place_of_the_weights_is_never_run(folder: Path, tmp_path: Path) -> None:
    weights = pickle.dumps(Bomb(tmp_path / "ran"))
    (folder / WEIGHTS).write_bytes(weights)
    edit(folder, weights_sha256=hashlib.sha256(weights).hexdigest())
    with pytest.raises(SimcvdError, match="cannot be read"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_a_run_without_a_finished_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="no such folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(SimcvdError, match="holds no model"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SimcvdError, match=r"training has not finished.*same `simcvd train`"):
        load_model(tmp_path)


def test_a_full_disk_leaves_the_model_that_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SimcvdError, match="No space left"):
        save_model(folder, small_vnet(seed=1), spec(method="supervised"))
    assert load_model(folder).spec.method == "simcvd"
    assert sorted(p.name for p in folder.iterdir()) == [DESCRIPTION, WEIGHTS]


def test_new_weights_beside_an_old_description_are_not_taken_for_a_model(folder: Path) -> None:
    old = (folder / DESCRIPTION).read_text()
    save_model(folder, small_vnet(seed=1), spec())
    (folder / DESCRIPTION).write_text(old)  # as if killed between the two files
    with pytest.raises(SimcvdError, match="not the file that"):
        load_model(folder)
