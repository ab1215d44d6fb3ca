"""A run as one file: it predicts elsewhere as it did at home, and tells nothing it should not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import onnxruntime
import pytest
import torch
from tests.small import LABELED, NETWORK, TEST, TRAIN

from simcvd.data.cache import Cache
from simcvd.inference.known import Known, Usual
from simcvd.inference.model import add_known, load_model
from simcvd.inference.predict import predict_files
from simcvd.records import as_json
from simcvd.share import export_run
from simcvd.share.onnx_file import write_onnx
from simcvd.training.loop import train
from simcvd.training.score_run import score_run
from simcvd.types import SimcvdError

SETTINGS = [
    *(f"network.{name}={getattr(NETWORK, name)}" for name in ("widths", "blocks", "strides")),
    *("train.iterations=40", f"train.patch={TRAIN.patch}", "method.pool=16"),
    *("method.hidden=8", "method.out=8"),
]


@pytest.fixture(scope="module")
def run(small_cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(small_cache.root, folder, method="simcvd", labeled=LABELED, settings=SETTINGS)
    return folder


def scans_of(cache: Cache) -> list[Path]:
    folder = cache.root.parent / "scans" / "images"
    return [folder / f"{name}.nii.gz" for name in cache.test]


def texts(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n != "model.safetensors"]
        return {name: archive.read(name).decode() for name in names}


def test_elsewhere_without_the_run_the_labels_are_bit_equal(
    run: Path, small_cache: Cache, tmp_path: Path
) -> None:
    home, abroad = tmp_path / "home", tmp_path / "abroad"
    abroad.mkdir()
    copy = shutil.copytree(run, tmp_path / "copy")
    scans = scans_of(small_cache)
    predict_files([copy], scans, home / "out", device="cpu")
    made = export_run(copy, home / "m.zip")
    shutil.rmtree(copy)
    shutil.move(made.path, abroad / "m.zip")
    done = subprocess.run(
        [sys.executable, "-m", "simcvd.cli", "predict", "m.zip", *map(str, scans), "--out", "out"],
        cwd=abroad,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    found = 0
    for scan in scans:
        wanted, got = (nibabel.load(place / "out" / scan.name) for place in (home, abroad))
        np.testing.assert_array_equal(np.asarray(got.dataobj), np.asarray(wanted.dataobj))
        np.testing.assert_array_equal(got.affine, wanted.affine)
        found += int(np.count_nonzero(np.asarray(wanted.dataobj)))
    assert found > 0  # or two empty masks would be equal


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    one = export_run(run, tmp_path / "one.zip")
    two = export_run(shutil.copytree(run, tmp_path / "elsewhere"), tmp_path / "two.zip")
    assert one.sha256 == two.sha256
    assert one.path.read_bytes() == two.path.read_bytes()


def test_no_path_and_no_scan_name_leaves(run: Path, small_cache: Cache, tmp_path: Path) -> None:
    score_run(run, quiet=True)
    told = "\n".join(texts(export_run(run, tmp_path / "m.zip").path).values())
    assert str(small_cache.root) not in told
    assert "/tmp" not in told
    assert not re.search(r"\bcase\d", told)
    settings = json.loads(texts(tmp_path / "m.zip")["config.json"])
    assert settings["run"]["labeled"] == LABELED
    assert settings["run"]["train"]["iterations"] == 40


def test_the_card_holds_the_measured_numbers(run: Path, tmp_path: Path) -> None:
    for name in ("metrics.json", "metrics.csv", "metrics.md"):
        (run / name).unlink(missing_ok=True)
    card = texts(export_run(run, tmp_path / "m.zip").path)["MODEL_CARD.md"]
    assert "**Not scored**" in card
    score_run(run, stride=(4, 4, 4), quiet=True)
    card = texts(export_run(run, tmp_path / "m.zip").path)["MODEL_CARD.md"]
    summary = json.loads((run / "metrics.json").read_text())["summary"]
    assert "Not scored" not in card
    for record in summary:
        dice = record["means"]["dice"]
        assert f"| {100 * dice['mean']:.2f} | {100 * dice['low']:.2f} to " in card
    assert f"windows 4 x 4 x 4 voxels apart.\n- {TEST} scans" in card
    assert "| 2 | class 2 | 2 |" in card


def test_the_card_tells_what_cross_validation_expects(run: Path, tmp_path: Path) -> None:
    usual = Usual.of(np.ones((4, 2)), np.ones((4, 2), int), np.tile([-1.0, 0, 1], (4, 1, 1)))
    expected = {"class 1": (0.812, 0.7, 0.9), "class 2": (0.5, None, None)}
    copy = shutil.copytree(run, tmp_path / "run")
    add_known(copy, Known(usual=usual, expected=expected, scans=12, largest_only=[2]))
    card = texts(export_run(copy, tmp_path / "m.zip").path)["MODEL_CARD.md"]
    assert "### Expected, by cross-validation over 12 labelled scans" in card
    assert "| class 1 | 81.2 | 70.0 to 90.0 |\n| class 2 | 50.0 | unknown to unknown |" in card
    assert "- Pieces: of class 2 only the largest piece is kept, " in card
    assert load_model(tmp_path / "m.zip").spec.known == load_model(copy).spec.known


def test_scores_of_another_run_are_not_put_on_the_card(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    score_run(copy, quiet=True)
    config = json.loads((copy / "config.json").read_text())
    config["run"]["train"]["seed"] = 5
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(SimcvdError, match="scores are of another run"):
        export_run(copy, tmp_path / "m.zip")
    assert not (tmp_path / "m.zip").exists()


def test_what_cannot_be_exported(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match=r"call it NAME\.zip"):
        export_run(run, tmp_path / "model")
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "model.json").unlink()
    with pytest.raises(SimcvdError, match="training has not finished"):
        export_run(copy, tmp_path / "m.zip")


def test_onnx_computes_what_torch_does(run: Path, tmp_path: Path) -> None:
    made = export_run(run, tmp_path / "m.zip", onnx=True)
    assert made.onnx == tmp_path / "m.onnx"
    assert made.onnx_difference is not None
    assert made.onnx_difference < 1e-4
    model = load_model(made.path)
    session = onnxruntime.InferenceSession(made.onnx, providers=["CPUExecutionProvider"])
    meta = session.get_modelmeta().custom_metadata_map
    assert json.loads(meta["simcvd"]) == as_json(model.spec)
    image = torch.randn(5, 1, *model.spec.patch)  # a batch that neither tracing nor check had
    logits, distance = session.run(None, {"image": image.numpy()})
    wanted = model.network(image)
    torch.testing.assert_close(torch.from_numpy(logits), wanted.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.from_numpy(distance), wanted.distance, atol=1e-4, rtol=0)


def test_onnx_that_computes_something_else_is_not_written(run: Path, tmp_path: Path) -> None:
    model = load_model(run)
    with pytest.raises(SimcvdError, match="differ from torch's by up to"):
        write_onnx(model, tmp_path / "m.onnx", tolerance=0.0)
    assert not model.network.training
    assert not (tmp_path / "m.onnx").exists()


def test_without_the_libraries_the_extra_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SimcvdError, match=r"pip install 'simcvd\[onnx\]'"):
        export_run(run, tmp_path / "m.zip", onnx=True)
    assert not (tmp_path / "m.zip").exists()
