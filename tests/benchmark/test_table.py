"""Tables: numbers worked out by hand, one home for them in three formats, the same bytes twice."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats
from tests.benchmark.made_up import HALF, write_run

from simcvd.benchmark.catalogue import find_protocol
from simcvd.benchmark.grid import read_findings
from simcvd.benchmark.render import csv_text, latex, markdown, write_table
from simcvd.benchmark.results import RunResult, read_results
from simcvd.benchmark.table import Line, Table, make_table
from simcvd.experiments import Row, sections
from simcvd.types import SimcvdError

CONTROL = [0.70, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77]
ROWS = sections(["supervised", "dtc", "ua_mt", "cps"])[0][2]


def shifted(*by: float) -> list[float]:
    return [a + b for a, b in zip(CONTROL, by, strict=True)]


BETTER = shifted(0.08, 0.09, 0.10, 0.11, 0.12, 0.13, 0.14, 0.15)
SAME = shifted(0.02, -0.01, 0.03, -0.02, 0.01, -0.03, 0.04, -0.04)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, ...]:
    root = tmp_path_factory.mktemp("results")
    for seed in range(3):
        off = 0.01 * (seed - 1)  # the seeds' means lie 1 point apart: standard deviation 1
        for method, dice in (("supervised", CONTROL), ("dtc", BETTER), ("ua_mt", SAME)):
            values = [d + off for d in dice]
            write_run(root / f"{method}{seed}", values, method=method, seed=seed)
    return read_results(root).results


@pytest.fixture(scope="module")
def table(results: tuple[RunResult, ...]) -> Table:
    return make_table("Methods", "supervised", ROWS, results, labeled=[8])


def line(table: Table, row: str) -> Line:
    return next(line for line in table.lines if line.row == row)


def test_numbers_by_hand(table: Table) -> None:
    control = line(table, "supervised")
    assert control.ours["dice"].mean == pytest.approx(73.5)
    assert control.ours["dice"].std == pytest.approx(1.0)
    assert control.ours["assd_mm"].mean == pytest.approx(2.65)  # 10 (1 - Dice) of made_up.py
    assert control.comparison is None
    better = line(table, "dtc")
    assert better.comparison is not None
    gap = better.comparison.gap
    assert gap.mean == pytest.approx(0.115)
    # trainings: 0.01^2 / 3 of either; scans: gains 0.08 to 0.15, variance 0.01^2 * 6, over 8
    assert gap.error == pytest.approx(0.01 * math.sqrt(1 / 3 + 1 / 3 + 6 / 8))
    # freedom (17/12)^2 / ((1/9 + 1/9) / 2 + (6/8)^2 / 7) = 10.5, of which 3 * 2 are allowed
    assert gap.p == pytest.approx(2 * stats.t.sf(0.115 / gap.error, 6))
    assert better.comparison.p_holm == pytest.approx(2 * gap.p)
    assert better.comparison.verdict == "better"


@pytest.mark.parametrize(
    ("inits", "seeds", "pairs"),
    [
        (["a", "b", "c"], [0, 1, 2], True),
        (["a+x", "b+y", "c+z"], [0, 1, 2], True),  # of two networks, one begins as the control's
        (["a", "b", "z"], [0, 1, 2], False),
        (["", "", ""], [0, 1, 2], False),
        (["a", "b", "c"], [0, 1, 3], False),
        (["a", "b"], [0, 1], False),
    ],
)
def test_seeds_are_paired_where_they_begin_with_the_same_weights(
    tmp_path: Path, inits: list[str], seeds: list[int], pairs: bool
) -> None:
    gains = [0.01, 0.02, 0.03]  # on every scan: deviation 1 point over 3 pairs, and no other
    for seed, (off, init) in enumerate(zip([-0.04, 0.03, 0.01], "abc", strict=True)):
        values = [d + off for d in CONTROL]
        write_run(tmp_path / f"v{seed}", values, seed=seed, init=init if inits[0] else "")
    for seed, init, gain, off in zip(seeds, inits, gains, [-0.04, 0.03, 0.01], strict=False):
        values = [d + off + gain for d in CONTROL]
        write_run(tmp_path / f"m{seed}", values, method="dtc", seed=seed, init=init)
    table = make_table("Methods", "supervised", ROWS, read_results(tmp_path).results)
    compared = line(table, "dtc").comparison
    assert compared is not None
    assert compared.kind == ("pairs" if pairs else "trainings")
    text = markdown(table)
    assert ("where trainings began with the same weights, by seed" in text) is pairs
    if pairs:
        assert "3 training pairs" in text
        assert compared.gap.p == pytest.approx(stats.ttest_1samp(gains, 0).pvalue)


def test_rows_stand_in_the_order_asked_for(table: Table, results: tuple[RunResult, ...]) -> None:
    assert [line.row for line in table.lines] == ["supervised", "dtc", "ua_mt", "cps"]
    turned = make_table("Methods", "supervised", ROWS[::-1], results[::-1], labeled=[8])
    assert [line.row for line in turned.lines] == ["cps", "ua_mt", "dtc", "supervised"]
    assert line(turned, "dtc") == line(table, "dtc")


def test_a_row_that_was_not_run_says_so(table: Table) -> None:
    assert "| CPS | 8 | not run |" in markdown(table)
    assert line(table, "cps").ours == {}


def test_strangers_names_are_text_in_every_file(table: Table) -> None:
    evil = "=cmd|' /C calc'!A0\n# [x](http://y) <img> \\input{z}"
    lines = tuple(replace(line, title=evil, sentence=evil) for line in table.lines)
    hostile = replace(table, protocol=evil, about=(evil,), lines=lines)
    text = markdown(hostile)
    assert not any(sign in text.replace(r"\<", "") for sign in ("<img", "\n# ", "[x](http"))
    heads = {text.count("|") - text.count(r"\|") for text in text.splitlines() if "|" in text[:2]}
    assert len(heads) == 1  # no cell was added to any row
    cells = [cell for row in csv.reader(io.StringIO(csv_text(hostile))) for cell in row]
    assert not [cell for cell in cells if cell.startswith("=") or "\n" in cell]
    assert r"\input" not in latex(hostile)


def test_sentences_and_protocol(table: Table) -> None:
    text = markdown(table)
    assert f"Protocol la-half, hash {HALF.hash()}. 8 test scans" in text
    assert "- 8 labels: DTC is better than V-Net: +11.50 Dice, 95 % interval" in text
    assert "- 8 labels: UA-MT against V-Net is inconclusive: +0.00 Dice, 95 % interval" in text
    assert "; detectable with 80 % power: " in text
    # By any other seed the control is worst on scans 0 and 1, where DTC gains 8 and 9 points.
    assert "On the hardest quarter, 2 scans: +8.50 (" in text
    assert "| hardest quarter | verdict |" in text
    assert "3 trainings each" in text
    assert "for the 2 comparisons of this table" in text
    assert "single training" not in text


def test_the_papers_numbers_stand_beside_ours_under_its_own_protocol(tmp_path: Path) -> None:
    published = find_protocol("la-published")
    write_run(tmp_path / "a", CONTROL, protocol=published)
    write_run(tmp_path / "b", BETTER, protocol=published, method="dtc")
    title, control, rows = sections(["I"])[0]
    table = make_table(title, control, rows, read_results(tmp_path).results)
    # Table I: V-Net, 8 labels, and its ASD is that of our prediction-to-reference column
    assert line(table, "supervised").paper == {
        "dice": 79.99,
        "jaccard": 68.12,
        "asd_prediction_to_reference_voxels": 5.48,
        "hd95_pooled_voxels": 21.11,
    }
    assert len(table.lines) == 11
    text = markdown(table)
    assert "| DTC | 8 | 1 | 85.00 | 87.49 |" in text
    assert "measured as ours" in text


def test_numbers_of_the_paper_under_another_protocol_are_marked(
    table: Table, tmp_path: Path
) -> None:
    assert "measured under another protocol" in markdown(table)  # la-half
    hippocampus = find_protocol("hippocampus")
    write_run(tmp_path / "a", CONTROL, protocol=hippocampus)
    other = make_table("Methods", "supervised", ROWS[:1], read_results(tmp_path).results)
    assert not other.has_paper
    assert "paper" not in markdown(other)


def test_one_training_has_no_spread(tmp_path: Path) -> None:
    write_run(tmp_path / "a", CONTROL)
    write_run(tmp_path / "b", [d + 0.007 + 0.0001 * i for i, d in enumerate(CONTROL)], method="dtc")
    table = make_table("Methods", "supervised", ROWS[:2], read_results(tmp_path).results)
    text = markdown(table)
    assert "Of a single training no spread is known" in text
    assert "±" not in text
    # 8 of 8 scans better, and yet another seed may do as much
    assert "DTC against V-Net: +0.73 Dice over 8 scans and one training each; no verdict" in text
    assert "hardest" not in text


def test_misses_are_counted_over_all_trainings(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.0, *CONTROL[1:]])
    write_run(tmp_path / "b", [0.0, 0.0, *CONTROL[2:]], seed=1)
    table = make_table("Methods", "supervised", ROWS[:1], read_results(tmp_path).results)
    text = markdown(table)
    assert "3 of 16" in text
    assert "A missed class counts as 0" in text


def test_a_missing_control_leaves_no_comparison(tmp_path: Path) -> None:
    write_run(tmp_path / "a", BETTER, method="dtc")
    table = make_table("Methods", "supervised", ROWS, read_results(tmp_path).results)
    assert all(line.comparison is None for line in table.lines)
    assert "With 8 labels nothing is compared: the control, V-Net, was not run." in markdown(table)


def test_unlike_results_are_refused(tmp_path: Path, results: tuple[RunResult, ...]) -> None:
    write_run(tmp_path / "a", CONTROL, method="cps", protocol=find_protocol("la-published"))
    other = read_results(tmp_path).results
    with pytest.raises(SimcvdError, match="cannot stand in one table"):
        make_table("Methods", "supervised", ROWS, (*results, *other))


def test_the_same_results_give_the_same_bytes(
    results: tuple[RunResult, ...], tmp_path: Path
) -> None:
    for folder, given in (("1", results), ("2", results[::-1])):
        table = make_table("Methods", "supervised", ROWS, given, findings=["A finding."])
        paths = write_table(table, tmp_path / folder, "methods")
    for path in paths:
        assert path.read_bytes() == (tmp_path / "1" / path.name).read_bytes()
    assert [path.name for path in paths] == ["methods.md", "methods.csv", "methods.tex"]
    text = paths[0].read_text(encoding="utf-8")
    assert text.index("A finding.") < text.index("| system |")


def test_csv_holds_every_number(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert [row["row"] for row in rows] == ["supervised", "dtc", "ua_mt", "cps"]
    dtc = rows[1]
    assert float(dtc["dice"]) == pytest.approx(85.0)
    assert float(dtc["dice_sd"]) == pytest.approx(1.0)
    assert float(dtc["dice_above_control"]) == pytest.approx(11.5)
    assert (dtc["hash"], dtc["verdict"], dtc["detectable"]) == (HALF.hash(), "better", "")
    assert float(dtc["hardest_quarter"]) == pytest.approx(8.5)
    assert float(rows[2]["detectable"]) > 0
    assert dtc["sentence"] == line(table, "dtc").sentence
    assert rows[3]["dice"] == rows[3]["missed"] == ""


def test_latex_escapes_and_has_as_many_cells_as_columns(results: tuple[RunResult, ...]) -> None:
    row = Row(id="dtc", title="50% & a_b #1", method="dtc")
    text = latex(make_table("A_B", "supervised", (ROWS[0], row), results))
    assert r"50\% \& a\_b \#1" in text
    assert r"\caption{A\_B}" in text
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    for written in body.strip().splitlines():
        cells = written.replace(r"\&", "").removesuffix(r" \\").split("&")
        assert len(cells) == len(columns)
    assert r"73.50 $\pm$ 1.00" in text


def test_committed_results_of_an_earlier_version_make_the_committed_table() -> None:
    folder = Path(__file__).parents[2] / "benchmarks" / "results" / "la-quarter-holdout"
    committed = folder / "tables" / "methods.csv"
    rows = list(csv.DictReader(io.StringIO(committed.read_text(encoding="utf-8"))))
    title, control, wanted = sections([row["row"] for row in rows])[0]
    reading = read_results(folder, split="holdout")
    table = make_table(title, control, wanted, reading.results, findings=read_findings(folder))
    assert csv_text(table) == committed.read_text(encoding="utf-8")
    assert markdown(table) == committed.with_suffix(".md").read_text(encoding="utf-8")
    assert {row["verdict"] for row in rows} == {"", "no verdict", "inconclusive"}
