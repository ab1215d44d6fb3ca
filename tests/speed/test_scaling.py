"""The script that measures growth runs to its end and writes what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "scaling.py"


def test_quick_scaling_writes_every_growth_and_a_figure(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=280)
    series = json.loads((tmp_path / "scaling.json").read_text(encoding="utf-8"))["series"]
    units = {one["unit"] for one in series}
    assert units == {
        "processes",
        "trainings side by side",
        "million voxels",
        "windows",
        "classes",
        "scans",
    }
    assert all(point["seconds"] > 0 for one in series for point in one["points"])
    windows = next(one for one in series if one["unit"] == "windows")
    assert [point["x"] for point in windows["points"]] == [27, 64]  # 3 and 4 an axis
    assert "| prepare them again | 4 scans |" in (tmp_path / "scaling.md").read_text("utf-8")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
