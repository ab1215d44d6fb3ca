"""Scoring a run on its test or held-out scans."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.small import LABELED, NETWORK, TRAIN

from simcvd.data.cache import Cache
from simcvd.engine.loop import train
from simcvd.engine.score_run import score_run
from simcvd.types import SimcvdError


@pytest.fixture(scope="module")
def trained(small_cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supervised run with one scan held out."""
    out = tmp_path_factory.mktemp("trained") / "run"
    settings = [f"train.patch={TRAIN.patch}", "train.iterations=60", "train.holdout=1"]
    train(
        small_cache.root,
        out,
        method="supervised",
        labeled=LABELED,
        settings=settings,
        network=NETWORK,
    )
    return out


def test_test_split_is_scored_and_written(trained: Path, small_cache: Cache) -> None:
    assert score_run(trained, quiet=True) == trained
    content = json.loads((trained / "metrics.json").read_text())
    assert {score["case"] for score in content["scores"]} == set(small_cache.test)
    assert content["info"]["split"] == "test"
    dice = {row["name"]: row["means"]["dice"]["mean"] for row in content["summary"]}
    assert dice["class 1"] > 0.3  # a ball brighter than the rest, after 60 small steps
    for name in small_cache.test:
        written = nibabel.load(trained / "predictions" / f"{name}.nii.gz")
        info = small_cache.case(name).info
        assert written.shape == tuple(info["shape"])
        np.testing.assert_allclose(written.affine, info["affine"])


def test_held_out_scans_are_scored_apart(trained: Path, small_cache: Cache) -> None:
    out = score_run(trained, split="holdout", quiet=True)
    assert out == trained / "holdout"
    content = json.loads((out / "metrics.json").read_text())
    assert {score["case"] for score in content["scores"]} == {small_cache.train[-1]}
    seen = content["info"]["config"]["run"]
    assert small_cache.train[-1] not in {*seen["labeled"], *seen["unlabeled"]}


def test_other_data_than_trained_on_is_refused(
    trained: Path, small_cache: Cache, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(small_cache.root, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["data_hash"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SimcvdError, match="holds other data"):
        score_run(trained, cache=other, quiet=True)


def test_an_unfinished_run_says_how_to_finish_it(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "config.json", tmp_path)
    with pytest.raises(SimcvdError, match="has not finished"):
        score_run(tmp_path, quiet=True)
    with pytest.raises(SimcvdError, match=r"no config\.json"):
        score_run(tmp_path / "nothing", quiet=True)
