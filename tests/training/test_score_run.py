"""Scoring a run on its test or held-out scans."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.small import LABELED, NETWORK, TRAIN, write_scans

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.data.record import MANIFEST
from simcvd.training.loop import train
from simcvd.training.score_run import score_run
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
        assert written.shape == info.shape
        np.testing.assert_allclose(written.affine, info.affine)


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
    found = small_cache.manifest
    found = replace(found, train=found.train[::-1])
    found = replace(found, data_hash=found.content_hash())
    (other / "manifest.json").write_text(json.dumps(MANIFEST.content(found)))
    with pytest.raises(SimcvdError, match="holds other data"):
        score_run(trained, cache=other, quiet=True)


def test_an_unfinished_run_says_how_to_finish_it(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "config.json", tmp_path)
    with pytest.raises(SimcvdError, match="has not finished"):
        score_run(tmp_path, quiet=True)
    with pytest.raises(SimcvdError, match=r"no config\.json"):
        score_run(tmp_path / "nothing", quiet=True)


def test_a_resampled_scan_is_scored_against_the_label_of_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lesion of four voxels is gone on a grid of 4 mm, but the reference is not empty."""
    root = write_scans(tmp_path / "scans")
    name = "case7"  # the last of the test list
    path = root / "labels" / f"{name}.nii.gz"
    lesion = np.zeros((20, 18, 12), np.uint8)
    lesion[10:12, 10:12, 6] = 2
    nibabel.save(nibabel.Nifti1Image(lesion, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    cache = prepare(root, tmp_path / "cache", spacing=(4.0,), jobs=1)
    assert "class 'class 2' loses 1 of 1 objects, the largest of 4 voxels (8 mm3)" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not cache.case(name).label.any()
    run = tmp_path / "run"
    settings = ["train.patch=(8, 8, 8)", "train.iterations=1"]
    arguments = {"method": "supervised", "labeled": LABELED, "settings": settings}
    train(cache.root, run, network=NETWORK, **arguments)  # type: ignore[arg-type]
    score_run(run, quiet=True)
    content = json.loads((run / "metrics.json").read_text())
    assert (content["info"]["grid"], content["notes"]) == ("own", [])
    miss = {(s["case"], s["name"]): s["miss"] for s in content["scores"]}
    assert miss[name, "class 2"] in ("", "empty prediction")
    moved = path.rename(tmp_path / "moved.nii.gz")
    score_run(run, quiet=True)
    content = json.loads((run / "metrics.json").read_text())
    assert f"{name} (its label cannot be read (No such file" in content["notes"][0]
    moved.rename(path)
    nibabel.save(nibabel.Nifti1Image(lesion[::-1].copy(), np.diag([1.0, 1.0, 2.0, 1.0])), path)
    score_run(run, quiet=True)
    content = json.loads((run / "metrics.json").read_text())
    assert f"{name} (its label changed since" in content["notes"][0]
