"""The speed suite runs to its end and writes what it measured."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

from simcvd.demo.phantom import PhantomSettings, write_phantoms

SUITE = Path(__file__).resolve().parents[2] / "benchmarks" / "speed.py"


def test_quick_suite_writes_rows_with_ratios(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_phantoms(scans, 6, 0, test=1, settings=PhantomSettings(shape=(24, 24, 20)))
    command = [sys.executable, str(SUITE), str(scans), "--quick", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=280)
    written = json.loads((out / "speed.json").read_text(encoding="utf-8"))
    names = " ".join(row["name"] for row in written["rows"])
    for part in ("prepare", "training step", "predict", "95HD", "all metrics", "--help"):
        assert part in names
    assert all(math.isfinite(row["ratio"]) and row["ratio"] > 0 for row in written["rows"])
    assert all(row["reason"] for row in written["skipped"])
    stages = written["parts"]["full resolution"]["stages"]
    assert {stage["name"] for stage in stages} >= {"data and augmentation", "backward"}
    flops = {stage["name"]: stage["flops"] for stage in stages}
    assert flops["forward, student"] == 2 * flops["forward, teacher"] > 0  # 4 patches, 2 patches
    assert "| prepare" in (out / "speed.md").read_text(encoding="utf-8")
