"""What commit f0fc42a left on disk is resumed, read, predicted with and tabulated.

The artefacts are made here by that commit's own code, out of the repository's history.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.small import CASES, LABELED, NETWORK, TEST, TRAIN

from simcvd.benchmark import command
from simcvd.benchmark.results import read_results
from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.inference.predict import predict_files
from simcvd.methods.registry import find
from simcvd.scoring.record import read_report
from simcvd.training.loop import train
from simcvd.training.score_run import score_run
from simcvd.types import SimcvdError

pytestmark = pytest.mark.slow

COMMIT = "f0fc42a295a24ae1ae3cb96d782a87a3e4674cec"
ROOT = Path(__file__).resolve().parents[2]
MAKER = Path(__file__).with_name("made_by_f0fc42a.py")
UNCHANGED = ("chaitanya", "entropy_minimization", "mean_teacher", "simcvd", "supervised", "ua_mt")
REVISED = ("cps", "dan", "ict", "sassnet")  # other equations now: another training by that name


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that MAKER fills, run by the old package."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("made")
    try:
        told = subprocess.run(
            ["git", "-C", ROOT, "archive", COMMIT, "src", "tests/small.py"],
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the history with {COMMIT[:7]} is not here: {error}")
    with tarfile.open(fileobj=io.BytesIO(told.stdout)) as archive:
        archive.extractall(source, filter="data")
    _name_fabric_as_before(source)
    path = os.pathsep.join(map(str, (source / "src", source)))
    done = subprocess.run(
        [sys.executable, MAKER, made],
        capture_output=True,
        encoding="utf-8",
        cwd=source,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def _name_fabric_as_before(source: Path) -> None:
    """The old code has Fabric from lightning, of which only the part that it uses is installed."""
    package = source / "lightning" / "fabric"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from lightning_fabric import Fabric\n")
    (package / "strategies.py").write_text("from lightning_fabric.strategies import DDPStrategy\n")


def _train(old: Path, out: Path, method: str, *settings: str) -> Path:
    return train(
        old / "cache",
        out,
        method=method,
        labeled=LABELED,
        train=TRAIN,
        network=NETWORK,
        settings=settings,
    )


def _half(old: Path, method: str, folder: Path) -> Path:
    """A copy of a run that was stopped half-way."""
    return Path(shutil.copytree(old / "half" / method, folder / method))


def _assert_same_weights(one: Path, other: Path) -> None:
    a, b = (load_file(run / "model.safetensors") for run in (one, other))
    assert a.keys() == b.keys()
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def _values(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.mark.parametrize("method", UNCHANGED)
def test_a_run_is_resumed_to_the_weights_it_would_have_had(
    old: Path, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bit for bit: the old version's own run was not interrupted."""
    run = _half(old, method, tmp_path)
    assert not (run / "model.safetensors").exists()
    _train(old, run, method)
    assert f"step {TRAIN.iterations}/{TRAIN.iterations}" in capsys.readouterr().out
    _assert_same_weights(run, old / "whole" / method)


def test_a_default_that_is_another_now_is_named_and_the_old_one_goes_on(
    old: Path, tmp_path: Path
) -> None:
    run = _half(old, "dtc", tmp_path)
    with pytest.raises(SimcvdError, match=r"run\.config\.cross_entropy: 0\.5 -> 0\.0\n"):
        _train(old, run, "dtc")
    _train(old, run, "dtc", "method.cross_entropy=0.5")
    _assert_same_weights(run, old / "whole" / "dtc")


@pytest.mark.parametrize("method", REVISED)
def test_a_run_by_other_equations_is_not_gone_on_with(
    old: Path, tmp_path: Path, method: str
) -> None:
    run = _half(old, method, tmp_path)
    with pytest.raises(SimcvdError, match=f"equations of {method} have changed") as caught:
        _train(old, run, method, *(["method.cross_entropy=0.5"] if method == "sassnet" else []))
    assert find(method).revision == 2
    assert "original settings" not in str(caught.value)  # no settings bring it back


def test_the_cache_is_read_and_trained_on(old: Path, tmp_path: Path) -> None:
    assert len(Cache(old / "cache").train) == CASES
    _assert_same_weights(_train(old, tmp_path, "mean_teacher"), old / "whole" / "mean_teacher")


def test_the_cache_prepared_again_is_still_that_of_its_runs(old: Path, tmp_path: Path) -> None:
    cache = Path(shutil.copytree(old / "cache", tmp_path / "cache"))
    again = prepare(old / "scans", cache, jobs=1)
    assert again.manifest.data_hash == Cache(old / "cache").manifest.data_hash


@pytest.mark.parametrize("model", ["model.zip", "whole/simcvd"])
def test_a_model_predicts_what_it_predicted(old: Path, tmp_path: Path, model: str) -> None:
    written = predict_files([old / model], [old / "scans" / "images"], tmp_path / "predicted")
    assert len(written) == CASES + TEST
    found = set[int]()
    for path in written:
        now, then = _values(path), _values(old / "predicted" / path.name)
        np.testing.assert_array_equal(now, then)
        found |= set(np.unique(now))
    assert len(found) > 1


def test_a_run_has_the_scores_it_had(old: Path, tmp_path: Path) -> None:
    run = old / "whole" / "simcvd"
    then, now = read_report(run), read_report(score_run(run, out=tmp_path / "scores", quiet=True))
    assert now.cases == then.cases
    np.testing.assert_array_equal(now.table("dice"), then.table("dice"))
    np.testing.assert_array_equal(now.table("hd95_pooled_mm"), then.table("hd95_pooled_mm"))


def test_results_are_tabulated(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Path(shutil.copytree(old / "results", tmp_path / "results"))
    command.benchmark(None, results, protocol="hippocampus", mode="tables")
    said = capsys.readouterr().out
    reading = read_results(results)
    assert not reading.missing + reading.foreign
    assert [result.row for result in reading.results] == ["simcvd", "supervised"]
    for result in reading.results:
        assert f"{100 * result.values['dice'].mean():.2f}" in said
