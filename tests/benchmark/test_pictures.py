"""Scans by every row, from the folders of scored runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.made_up import CASES, write_run
from tests.benchmark.test_grid import tiny
from tests.small import make_cache

from simcvd.benchmark.command import benchmark
from simcvd.benchmark.grid import open_results, plan_grid
from simcvd.benchmark.pictures import _chosen
from simcvd.benchmark.results import read_result
from simcvd.benchmark.worker import work
from simcvd.benchmark.write import write_tables
from simcvd.data.cache import Cache
from simcvd.experiments import select
from simcvd.types import SimcvdError

PAIR = ("supervised", "mean_teacher")


def test_the_control_s_hardest_middle_and_easiest_scan_are_shown(tmp_path: Path) -> None:
    """Means over two seeds, in per cent: 60, 50, 40, 30, 20, 10, 5 and, missed by both, 0.

    The first seed alone would have them in another order.
    """
    first = [0.3, 0.1, 0.2, 0.3, 0.4, 0.2, 0.1, 0.0]
    second = [0.9, 0.9, 0.6, 0.3, 0.0, 0.0, 0.0, 0.0]
    runs = [write_run(tmp_path / str(seed), dice, seed=seed)
            for seed, dice in enumerate((first, second))]  # fmt: skip
    chosen = _chosen([read_result(run) for run in runs])
    assert chosen == [CASES[7], CASES[3], CASES[0]]


def test_a_picture_of_each_number_of_labels(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "data")
    out = tmp_path / "results"
    grid = plan_grid(cache.root, tiny(), select(PAIR), out)
    open_results(grid)
    for unit in grid.units:
        work(unit, cache.root)
    write_tables(out, PAIR, scans=Cache(cache.root))
    pixels = np.asarray(Image.open(out / "tables" / "methods-3.png").convert("RGB"), float)
    blue = (pixels[..., 2] > 150) & (pixels[..., 0] < 100)
    assert blue.mean() > 0.005  # the reference's outlines and surfaces

    gone = grid.units[1].folder / "predictions"
    for path in gone.iterdir():
        path.unlink()
    with pytest.raises(SimcvdError, match=r"cannot be drawn; score the run again: simcvd evaluate"):
        write_tables(out, PAIR, scans=Cache(cache.root))
    other = make_cache(tmp_path / "other", classes=2)
    with pytest.raises(SimcvdError, match="was trained on other data"):
        write_tables(out, PAIR, scans=Cache(other.root))


def test_pictures_need_the_scans(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="--figure shows scans"):
        benchmark(None, tmp_path, protocol="hippocampus", mode="tables", figure=True)
