"""The label-efficiency figure shows the numbers of the table, and says what its bands are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.benchmark.made_up import write_run

from simcvd.benchmark.catalogue import find_protocol
from simcvd.benchmark.curve import apart, label_efficiency, points
from simcvd.benchmark.results import RunResult, read_results
from simcvd.experiments import sections
from simcvd.scoring.scores import bootstrap_mean, resamples
from simcvd.types import SimcvdError

BASE = np.linspace(0.6, 0.8, 8)
ROWS = sections(["supervised", "simcvd"])[0][2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, ...]:
    root = tmp_path_factory.mktemp("results")
    for count, gain in ((4, 0.0), (8, 0.05), (16, 0.1)):
        for method, more in (("supervised", 0.0), ("simcvd", 0.04)):
            for seed in range(2 if method == "supervised" else 1):
                dice = BASE + gain + more + 0.02 * seed
                write_run(
                    root / f"{method}{count}{seed}",
                    dice.tolist(),
                    method=method,
                    labeled=count,
                    seed=seed,
                )
    write_run(root / "all", (BASE + 0.18).tolist(), labeled=80)
    return read_results(root).results


def of(results: tuple[RunResult, ...], row: str) -> list[RunResult]:
    return [result for result in results if result.row == row]


def test_band_over_seeds_by_hand(results: tuple[RunResult, ...]) -> None:
    first = points(of(results, "supervised"), band="seeds")[0]
    # seeds at 70 and 72: mean 71, standard deviation sqrt(2)
    assert (first.labeled, first.trainings) == (4, 2)
    assert first.mean == pytest.approx(71.0)
    assert (first.low, first.high) == pytest.approx((71 - math.sqrt(2), 71 + math.sqrt(2)))


def test_a_single_training_has_no_band_over_seeds(results: tuple[RunResult, ...]) -> None:
    first = points(of(results, "simcvd"), band="seeds")[0]
    assert first.mean == pytest.approx(74.0)
    assert math.isnan(first.low)
    assert math.isnan(first.high)


def test_band_over_scans_is_that_of_every_other_table(results: tuple[RunResult, ...]) -> None:
    first = points(of(results, "supervised"), band="scans")[0]
    expected = bootstrap_mean(100 * (BASE + 0.01)[:, None], resamples(8))
    assert (first.low, first.high) == pytest.approx((expected.low, expected.high))


def test_the_figure_draws_these_points(results: tuple[RunResult, ...]) -> None:
    reference = [result for result in results if result.labeled == 80]
    figure = label_efficiency(ROWS, results, reference=reference, title="LA")
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [71, 76, 81])
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [74, 79, 84])
    np.testing.assert_allclose(axes.lines[3].get_ydata(), [74, 79, 84])  # hollow: one training
    assert list(axes.lines[4].get_ydata()) == pytest.approx([88, 88])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "8", "16"]
    names = [text.get_text() for text in axes.texts]
    assert names == ["V-Net, all 80 labels: 88.0", "V-Net", "SimCVD"]


@pytest.mark.parametrize(
    ("band", "words"),
    [("seeds", "one standard deviation over trainings"), ("scans", "bootstrap interval over test")],
)
def test_it_says_what_its_bands_are(results: tuple[RunResult, ...], band: str, words: str) -> None:
    text = label_efficiency(ROWS, results, band=band).get_supxlabel()
    assert words in text
    assert "hollow: a single training" in text
    assert "protocol la-half" in text


def test_the_same_results_give_the_same_picture(
    results: tuple[RunResult, ...], tmp_path: Path
) -> None:
    for name, given in (("a", results), ("b", results[::-1])):
        figure = label_efficiency(ROWS, given)
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / name, format="png")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_names_are_moved_apart_and_no_further() -> None:
    assert apart([0.1, 0.9], 0.05) == [0.1, 0.9]
    # 0.5 and 0.52 need 0.1: each gives way by half of what is missing
    assert apart([0.52, 0.1, 0.5], 0.1) == pytest.approx([0.56, 0.1, 0.46])
    # the upper end is the limit: all three below it, the lowest pushed to 0.8
    assert apart([1.0, 0.99, 0.98], 0.1) == pytest.approx([1.0, 0.9, 0.8])
    crowd = apart([0.5] * 11, 0.05)
    assert np.diff(sorted(crowd)) == pytest.approx(0.05)
    assert np.mean(crowd) == pytest.approx(0.5)


def test_unlike_results_are_refused(results: tuple[RunResult, ...], tmp_path: Path) -> None:
    other = find_protocol("la-published")
    write_run(tmp_path / "a", BASE.tolist(), method="simcvd", labeled=32, protocol=other)
    with pytest.raises(SimcvdError, match="cannot stand in one table"):
        label_efficiency(ROWS, (*results, *read_results(tmp_path).results))
