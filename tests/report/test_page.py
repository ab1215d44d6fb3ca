"""The page says what was measured, in words that follow from the numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.small import LABELED, NETWORK, TRAIN

from simcvd.data.cache import Cache
from simcvd.report import figures
from simcvd.report.html import Words, write_page
from simcvd.report.results import Result, compare_all, load_result, sentence
from simcvd.report.runs import report_runs
from simcvd.scoring.comparison import Comparison
from simcvd.scoring.gap import Gap
from simcvd.scoring.scores import Summary
from simcvd.training.loop import train
from simcvd.training.score_run import score_run
from simcvd.types import SimcvdError


def _result(name: str, dice: list[float]) -> Result:
    return Result(
        name=name,
        summary=Summary(name="all", cases=len(dice), missed=0, absent=0, means={}),
        cases=tuple(f"case{i}" for i in range(len(dice))),
        dice=np.array(dice)[:, None],
        log=[],
        predictions=Path(),
    )


CONTROL = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85]


def test_single_trainings_show_their_difference_and_no_verdict() -> None:
    control, other = _result("V-Net", CONTROL), _result("SimCVD", [d + 0.1 for d in CONTROL])
    gaps = compare_all(control, [other])
    assert gaps[0].gap.mean == pytest.approx(0.1)
    assert sentence(control, [other], gaps) == (
        "SimCVD against V-Net: +10.00 Dice over 8 scans and one training each; no verdict from a "
        "single training."
    )


def test_the_hardest_quarter_is_named_by_another_training_of_the_control() -> None:
    # Of 8 scans the two on which the control's second training is worst: the last two.
    control, again = _result("a", CONTROL), _result("b", CONTROL[::-1])
    other = _result("c", [d + 0.01 * i for i, d in enumerate(CONTROL)])
    first, second = compare_all(control, [again, other], [again])
    assert first.hardest is None  # it would be ranked by itself
    assert second.hardest is not None
    assert second.hardest.mean == pytest.approx((0.06 + 0.07) / 2)
    assert "On the hardest quarter, 2 scans: +6.50." in sentence(control, [other], [second])


def test_other_scans_are_not_compared() -> None:
    with pytest.raises(SimcvdError, match="scored on different scans"):
        compare_all(_result("a", [0.5]), [_result("b", [0.5, 0.6])])


def test_a_run_that_was_not_scored_says_how(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="simcvd evaluate"):
        load_result(tmp_path, "V-Net")


def _row(step: int, **terms: float) -> dict[str, float]:
    weights = {f"weight/{name}": 0.1 * step for name in terms}
    return {"step": step} | {f"term/{name}": value for name, value in terms.items()} | weights


def test_curves_show_every_term_of_every_phase_and_run() -> None:
    chaitanya = [_row(10, **{"global": 3.0}), _row(20, seg=1.0), _row(30, seg=-2.0)]
    figure = figures.curves({"Chaitanya": chaitanya, "V-Net": [_row(10, seg=4.0)]})
    pretraining, seg = [axes for axes in figure.axes if axes.get_visible()]
    assert pretraining.get_title() == "global, weight 1"
    assert seg.get_title() == "seg, weight 1 to 3"
    raw, _, other, _ = seg.lines
    assert [list(raw.get_xdata()), list(raw.get_ydata())] == [[20, 30], [1.0, -2.0]]
    assert [list(other.get_xdata()), list(other.get_ydata())] == [[10], [4.0]]
    assert raw.get_color() != other.get_color()


def test_the_thick_curve_is_the_mean_of_a_tenth_of_the_run() -> None:
    log = [_row(step, seg=float(step % 2)) for step in range(1, 11)]
    axes = figures.curves({"run": log}).axes[0]
    assert list(axes.lines[1].get_ydata()) == [1.0] + [0.5] * 9


def test_paired_shows_each_scan_and_the_mean_with_its_interval() -> None:
    gap = Gap(mean=0.05, parts=((0.01**2, 10),), scans=2)  # t of 10 degrees at 95 %: 2.228
    figure = figures.paired(
        ["a", "b"], np.array([50.0, 60.0]), {"m": np.array([40.0, 80.0])}, {"m": gap}
    )
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["b", "a", "mean, 95 %"]
    marks, interval, mean = axes.lines[:3]
    assert list(marks.get_xdata()) == [20.0, -10.0]
    assert list(interval.get_xdata()) == pytest.approx([5 - 2.228, 5 + 2.228], abs=1e-3)
    assert list(mean.get_xdata()) == [5.0]


def _compared(results: list[Result]) -> tuple[Result, list[Result], list[Comparison]]:
    return results[0], results[1:], compare_all(results[0], results[1:])


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
    page = write_page(tmp_path, small_cache, results, Words(title="two trainings"))
    runs = [tmp_path / seed for seed in "01"]
    named = report_runs(runs, tmp_path / "both").read_text()
    alone = report_runs(runs[:1], tmp_path / "alone").read_text()
    with pytest.raises(SimcvdError, match=r"simcvd evaluate .*1 --split holdout"):
        report_runs(runs[1:], tmp_path / "no", split="holdout")
    config = runs[1] / "config.json"
    config.write_text(config.read_text().replace(small_cache.manifest.data_hash, "0" * 64))
    with pytest.raises(SimcvdError, match="trained on other data"):
        report_runs(runs, tmp_path / "no")
    assert not (tmp_path / "no").exists()
    for run in runs:
        shutil.rmtree(run)
    text = page.read_text()
    assert sentence(*_compared(results)).replace("<1>", "&lt;1&gt;") in text
    assert f"<td>{100 * results[0].summary.means['dice'].mean:.1f}<small>" in text
    assert text.count("data:image/svg+xml;base64,") == 2
    scans = len(small_cache.test)
    assert [text.count(f"data:image/{kind};") for kind in ("webp", "png")] == [scans, 3 * scans]
    assert "http:" not in text
    assert "Supervised V-Net (0): 3 labelled and 3 unlabelled scans" in named
    assert "Unlike the first: train.seed: 0 -&gt; 1." in named
    assert named.count("data:image/") == text.count("data:image/")
    dice = 100 * results[0].summary.means["dice"].mean
    assert f"Supervised V-Net: mean Dice {dice:.1f} (" in alone
    assert "control" not in alone.split("</style>")[1]
    assert alone.count("data:image/") == text.count("data:image/") - 1 - scans
