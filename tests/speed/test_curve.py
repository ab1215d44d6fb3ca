"""The training beside the plain one runs to its end, and in float32 the two are one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simcvd.data.prepare import prepare
from simcvd.demo.phantom import PhantomSettings, write_phantoms

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "training_curve.py"


def test_in_float32_every_term_is_that_of_the_plain_training(tmp_path: Path) -> None:
    scans, cache, out = tmp_path / "scans", tmp_path / "cache", tmp_path / "out"
    write_phantoms(scans, 6, 0, test=1, settings=PhantomSettings(shape=(24, 24, 20)))
    prepare(scans, cache, quiet=True)
    asked = ["--quick", "--set", "train.precision=float32", "--out", str(out)]
    asked += ["--steps", "8", "--labeled", "2", "--scans", "1"]
    command = [sys.executable, str(SCRIPT), str(cache), *asked]
    subprocess.run(command, check=True, capture_output=True, timeout=280)
    lines = (out / "training_curve.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if " to " in line]
    rows = [row for row in rows if len(row) == 5 and row[1][0].isdigit()]
    assert {row[0] for row in rows} == {"seg", "sdm", "contrast", "pd", "con"}
    for name, stretch, ours, plain, other in rows:
        assert float(ours) == pytest.approx(float(plain), rel=2e-3), (name, stretch)
        if name == "con":  # noise and dropout are what tells two networks of the same weights apart
            assert float(other) != float(plain)
    assert (out / "training_curve.png").stat().st_size > 10_000
