"""The commands of the README, one after another, as a user types them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.small import LABELED, NETWORK, TEST, write_scans

COMMAND = Path(sys.executable).with_name("simcvd")
FLAGS = [
    *("--set", f"network.widths={NETWORK.widths}", "--set", f"network.blocks={NETWORK.blocks}"),
    *("--set", f"network.strides={NETWORK.strides}", "--set", "train.patch=(16,16,8)"),
]


def _simcvd(*arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans, cache and a supervised run, made by commands."""
    folder = tmp_path_factory.mktemp("job")
    write_scans(folder / "scans", labels=LABELED)
    said = _simcvd("prepare", folder / "scans", "--out", folder / "cache", "--spacing", 1, 1, 2)
    assert f"{LABELED + TEST} with a label" in said
    _simcvd(
        *("train", folder / "cache", "--method", "supervised", "--labeled", LABELED),
        *("--recipe", "paper"),
        *("--out", folder / "run", "--iterations", 150, *FLAGS),
    )
    return folder


def test_evaluate_prints_the_table(job: Path) -> None:
    said = _simcvd("evaluate", job / "run")
    assert "95HD" in said
    assert "## class 1" in said
    again = _simcvd(
        "evaluate", job / "run" / "predictions", job / "scans" / "labels", "--out", job / "folders"
    )
    assert "2 cases" in again  # the scans that lie in both folders; others are named
    assert "Not scored" in again


def test_predict_keeps_each_scan_geometry(job: Path) -> None:
    """The first test scan and the same scan with its axes swapped and flipped."""
    source = nibabel.load(job / "scans" / "images" / "case6.nii.gz")
    turned = source.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nibabel.save(turned, job / "turned.nii.gz")
    nibabel.save(source, job / "plain.nii.gz")
    _simcvd(
        "predict", job / "run", job / "plain.nii.gz", job / "turned.nii.gz", "--out", job / "out"
    )
    plain, other = (nibabel.load(job / "out" / f"{n}.nii.gz") for n in ("plain", "turned"))
    assert other.shape == turned.shape == (18, 12, 20)
    np.testing.assert_allclose(other.affine, turned.affine)
    back = nibabel.as_closest_canonical(other)
    mask = np.asarray(nibabel.as_closest_canonical(plain).dataobj)
    assert mask.any()
    np.testing.assert_array_equal(np.asarray(back.dataobj), mask)


def test_a_mistake_is_one_clear_message(job: Path) -> None:
    said = _simcvd(
        "train", job / "cache", "--labeled", 3, "--out", job / "x", "--method", "simcdv", code=1
    )
    assert said.strip() == "simcvd: there is no method 'simcdv'; did you mean simcvd?"
    said = _simcvd("prepare", job / "scans", "--out", job / "y", "--spacing", "thin", code=1)
    assert "write one number, or three" in said
