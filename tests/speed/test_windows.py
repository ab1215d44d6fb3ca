"""What other windows cost runs to its end on a finished training, a row for each way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from simcvd.data.prepare import prepare
from simcvd.demo.phantom import PhantomSettings, write_phantoms
from simcvd.training.loop import train

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fast_mode.py"
TINY = (
    "train.patch=16,16,16",
    "train.iterations=2",
    "network.widths=(4,8)",
    "network.blocks=(1,1)",
    "network.strides=((2,2,2),)",
)


def test_every_way_has_a_row_and_the_first_differs_from_itself_by_nothing(tmp_path: Path) -> None:
    scans, cache, run = tmp_path / "scans", tmp_path / "cache", tmp_path / "run"
    write_phantoms(scans, 6, 0, test=2, settings=PhantomSettings(shape=(24, 24, 20)))
    prepare(scans, cache, quiet=True)
    train(cache, run, method="supervised", labeled=2, settings=TINY)
    command = [sys.executable, str(SCRIPT), str(run), "--strides", "4,4,4", "16,16,16"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=280)
    cells = [line.split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    ways, gains = [row[1].strip() for row in cells[2:]], [row[4].strip() for row in cells[2:]]
    assert "2 scans of test" in done.stdout
    assert ways == ["4,4,4", "16,16,16", "no stride", "--fast"]
    assert gains[0] == "+0.00 (+0.00 to +0.00)"
    assert len(set(gains)) > 1
