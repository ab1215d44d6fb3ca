"""The benchmark of choosing against random choice: fair between strategies, and resumable."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simcvd.active.picking import STRATEGIES
from simcvd.data.cache import Cache

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "next.py"
SEEDS = 2


def simulate(cache: Cache, out: Path) -> str:
    command = [sys.executable, str(SCRIPT), str(cache.root), "--out", str(out), "--quick"]
    run = subprocess.run(
        [*command, "--seeds", str(SEEDS)], check=True, capture_output=True, text=True, timeout=600
    )
    return run.stdout


@pytest.mark.slow
def test_every_strategy_has_the_same_start_and_what_is_there_is_kept(
    small_cache: Cache, tmp_path: Path
) -> None:
    simulate(small_cache, tmp_path)
    units = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "units").glob("*.json")}
    for seed in range(SEEDS):
        start = units[f"seed_{seed}-all-02"]
        assert set(start["next"]) == {"random", *STRATEGIES}
        for arm, chosen in start["next"].items():
            middle, last = (units[f"seed_{seed}-{arm}-{count:02d}"] for count in (3, 4))
            assert middle["labeled"] == [*start["labeled"], *chosen]
            assert last["labeled"] == [*middle["labeled"], *middle["next"][arm]]
            assert len(set(last["labeled"])) == 4
            assert last["dice"].keys() == start["dice"].keys()
            assert not {*last["labeled"]} & {*last["dice"]}
            assert {*last["labeled"], *last["dice"]} <= {*small_cache.train}
    table = (tmp_path / "next.md").read_text()
    means = [np.mean([*units[f"seed_{s}-mix-04"]["dice"].values()]) for s in range(SEEDS)]
    row = next(line for line in table.splitlines() if line.startswith("| mix |"))
    assert row.split("|")[4].strip() == f"{np.mean(means):.1f}"

    lost = tmp_path / "units" / "seed_1-mix-04.json"
    before, kept = lost.read_text(), {p: p.stat().st_mtime_ns for p in lost.parent.iterdir()}
    lost.unlink()
    simulate(small_cache, tmp_path)
    assert json.loads(lost.read_text()) == json.loads(before)
    changed = [p for p in lost.parent.iterdir() if p.stat().st_mtime_ns != kept[p]]
    assert changed == [lost]
    assert (tmp_path / "next.md").read_text() == table
    assert not (tmp_path / "trainings").exists()
