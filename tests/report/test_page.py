"""The page says what was measured, in words that follow from the numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.small import LABELED, NETWORK, TRAIN

from simcvd.data.cache import Cache
from simcvd.engine.loop import train
from simcvd.engine.score_run import score_run
from simcvd.report import figures
from simcvd.report.html import write_page
from simcvd.report.results import Result, difference, load_result, sentence
from simcvd.types import SimcvdError


def _result(name: str, dice: list[float]) -> Result:
    return Result(
        name=name,
        summary={},
        cases=tuple(f"case{i}" for i in range(len(dice))),
        dice=np.array(dice)[:, None],
        log=[],
        predictions=Path(),
    )


def test_difference_is_paired_by_case() -> None:
    # Differences 0.1, 0.2, 0.3: mean 0.2, and no resample can leave [0.1, 0.3].
    gap = difference(_result("a", [0.5, 0.1, 0.9]), _result("b", [0.6, 0.3, 1.2]))
    assert gap.mean == pytest.approx(0.2)
    assert 0.0999 < gap.low < 0.2 < gap.high < 0.3001


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ([0.6, 0.7, 0.8, 0.9], "SimCVD is better than V-Net: +10.0 Dice"),
        ([0.4, 0.5, 0.6, 0.7], "SimCVD is worse than V-Net: -10.0 Dice"),
        ([0.6, 0.5, 0.8, 0.7], "SimCVD cannot be told from V-Net: +0.0 Dice"),
    ],
)
def test_the_sentence_follows_from_the_interval(other: list[float], words: str) -> None:
    text = sentence(_result("V-Net", [0.5, 0.6, 0.7, 0.8]), [_result("SimCVD", other)])
    assert text.startswith(words)
    assert "4 test scans" in text


def test_other_scans_are_not_compared() -> None:
    with pytest.raises(SimcvdError, match="scored on different scans"):
        difference(_result("a", [0.5]), _result("b", [0.5, 0.6]))


def test_a_run_that_was_not_scored_says_how(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="simcvd evaluate"):
        load_result(tmp_path, "V-Net")


def test_curves_show_every_term_of_every_phase() -> None:
    log = [{"step": 10.0, "term/global": 3.0}, {"step": 20.0, "term/seg": 1.0}]
    (axes,) = figures.curves(log, "run").axes
    assert [line.get_label() for line in axes.lines] == ["global", "seg"]
    assert [list(line.get_xdata()) for line in axes.lines] == [[10.0], [20.0]]


def test_overlay_cuts_through_the_reference() -> None:
    reference = np.zeros((8, 9, 10), int)
    reference[2:4, 5:8, 6] = 1
    image = np.arange(720.0).reshape(8, 9, 10)
    figure = figures.overlay(image, {"run": reference * 0}, reference, (1.0, 1.0, 3.0))
    top = figure.axes[2].images[0]
    np.testing.assert_array_equal(top.get_array(), image[:, :, 6].T)
    assert figure.axes[0].get_aspect() == 3.0  # Y across, Z up


def test_page_of_real_runs_stands_alone(small_cache: Cache, tmp_path: Path) -> None:
    results = []
    for seed, name in enumerate(("control", "other <1>")):
        out = tmp_path / str(seed)
        settings = [f"train.seed={seed}"]
        train(
            small_cache.root,
            out,
            method="supervised",
            labeled=LABELED,
            settings=settings,
            train=TRAIN,
            network=NETWORK,
        )
        score_run(out, quiet=True)
        results.append(load_result(out, name))
    page = write_page(tmp_path, small_cache, results, title="two trainings")
    for seed in "01":
        shutil.rmtree(tmp_path / seed)
    text = page.read_text()
    assert sentence(results[0], results[1:]).replace("<1>", "&lt;1&gt;") in text
    assert f"{100 * results[0].summary['means']['dice']['mean']:.2f}" in text
    assert text.count("data:image/png;base64,") == 1 + len(small_cache.test) + 2
    assert "http" not in text
