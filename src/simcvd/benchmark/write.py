"""Every table and the figure of a folder of results, from what lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from simcvd import escape
from simcvd.benchmark.curve import label_efficiency
from simcvd.benchmark.grid import read_findings
from simcvd.benchmark.pictures import draw_scans
from simcvd.benchmark.render import markdown, write_table
from simcvd.benchmark.results import TABLES, RunResult, read_results
from simcvd.benchmark.table import make_table
from simcvd.data.cache import Cache
from simcvd.experiments import Row, sections
from simcvd.files import replace_into


def write_tables(
    results: Path,
    wanted: Sequence[str],
    *,
    split: Literal["test", "holdout"] = "test",
    labeled: Sequence[int] | None = None,
    scans: Cache | None = None,
) -> str:
    """Write ``RESULTS/tables/*.{md,csv,tex}``; gives back all of it as Markdown.

    wanted: tables, methods and rows, as :func:`simcvd.experiments.select` takes them. A curve of
    Dice against the number of labels is drawn where there are several, and of ``scans``, if they
    are given, some by every row. What is missing or does not belong in the folder stands in the
    notes of the text.
    Raises SimcvdError where nothing is scored, or for results that were not measured alike.
    """
    reading = read_results(results, split=split)
    findings = read_findings(results)
    texts = []
    for title, control, rows in sections(wanted):
        table = make_table(
            title, control, rows, reading.results, labeled=labeled, findings=findings
        )
        write_table(table, results / TABLES, _file_name(title))
        texts.append(markdown(table))
        path = results / TABLES / _file_name(title)
        _draw(path.with_suffix(".png"), title, rows, reading.results)
        if scans:
            shown = [r for r in reading.results if labeled is None or r.labeled in labeled]
            draw_scans(scans, control, rows, shown, path, split)
    notes = [f"- {escape.markdown(text)}" for text in (*reading.missing, *reading.foreign)]
    return "\n".join([*texts, *(["Not in the tables:", "", *notes, ""] if notes else [])])


def _draw(path: Path, title: str, rows: Sequence[Row], results: Sequence[RunResult]) -> None:
    """The label-efficiency curve, if any two numbers of labels were run."""
    ids = {row.id for row in rows}
    if len({result.labeled for result in results if result.row in ids}) < 2:
        return
    figure = label_efficiency(rows, results, title=title)
    with replace_into(path) as temporary:
        figure.savefig(temporary)


def _file_name(title: str) -> str:
    """ "Table III: components" is table-iii."""
    return title.split(":")[0].lower().replace(" ", "-")
