"""A table as Markdown, CSV and LaTeX. Nothing is computed here, and nothing depends on the hour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from simcvd import escape
from simcvd.benchmark.table import Line, Table
from simcvd.files import write_text
from simcvd.scoring.gap import Gap
from simcvd.scoring.titles import PERCENT, metric_title
from simcvd.scoring.words import interval_words

GAP = (
    *("dice_above_control", "low", "high", "p_holm", "verdict", "detectable"),
    *("hardest_quarter", "hardest_low", "hardest_high", "sentence"),
)


def write_table(table: Table, folder: Path, name: str) -> list[Path]:
    """Write ``name.md``, ``name.csv`` and ``name.tex``; returns them. Raises if it cannot."""
    texts = {".md": markdown(table), ".csv": csv_text(table), ".tex": latex(table)}
    for suffix, text in texts.items():
        write_text(folder / f"{name}{suffix}", text)
    return [folder / f"{name}{suffix}" for suffix in texts]


def markdown(table: Table) -> str:
    """Protocol and findings above, the table, then how to read it and every comparison."""
    head = _header(table)
    rows = [[escape.markdown(cell) for cell in _cells(table, line)] for line in table.lines]
    align = ["---", *["---:"] * (len(head) - 1)]
    body = ["| " + " | ".join(cells) + " |" for cells in (head, align, *rows)]
    sentences = [f"- {escape.markdown(text)}" for text in _sentences(table)]
    parts = [
        f"## {table.title}",
        *map(escape.markdown, table.about),
        "\n".join(body),
        *table.notes,
        *(["\n".join(sentences)] if sentences else []),
    ]
    return "\n\n".join(parts) + "\n"


def csv_text(table: Table) -> str:
    """A row per line of the table; an undefined or unknown number is an empty cell.

    Dice, Jaccard and differences are in %, the paper's distances in voxels whatever ours are in.
    """
    columns = [c for m in table.metrics for c in (m, f"{m}_sd", f"{m}_paper")]
    head = ["protocol", "hash", "row", "title", "labeled", "trainings", "missed", "looked_at"]
    rows: list[list[object]] = [[*head, *columns, *GAP]]
    for line in table.lines:
        about = [table.protocol, table.digest, line.row, line.title, line.labeled, line.trainings]
        about += [line.missed, line.looked_at] if line.ours else ["", ""]
        rows.append([*about, *_numbers(table, line), *_gap_numbers(line)])
    return escape.csv_text(rows)


def latex(table: Table) -> str:
    r"""A ``table`` environment for the package booktabs, with everything said in its caption."""
    head = _header(table)
    rows = [_cells(table, line) for line in table.lines]
    body = [" & ".join(map(escape.latex, cells)) + r" \\" for cells in (head, *rows)]
    words = [*table.about, *table.notes, *_sentences(table)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{escape.latex(table.title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\raggedright",
            *(f"{escape.latex(text)}\\par" for text in words),
            r"\end{table}",
            "",
        ]
    )


def _header(table: Table) -> list[str]:
    head = ["system", "labels", "trainings"]
    for metric in table.metrics:
        unit = "%" if metric in PERCENT else "voxels"
        head += [metric_title(metric), *([f"paper [{unit}]"] if table.has_paper else [])]
    hardest = ["hardest quarter"] if table.has_hardest else []
    return [*head, "missed", f"Dice above {table.control}", *hardest, "verdict"]


def _cells(table: Table, line: Line) -> list[str]:
    cells = [line.title, str(line.labeled), str(line.trainings or "not run")]
    for metric in table.metrics:
        cells.append(_ours(line, metric))
        if table.has_paper:
            cells.append(f"{line.paper[metric]:.2f}" if metric in line.paper else "")
    return [*cells, f"{line.missed} of {line.looked_at}" if line.ours else "", *_gap(table, line)]


def _ours(line: Line, metric: str) -> str:
    if metric not in line.ours:
        return ""
    ours = line.ours[metric]
    if ours.mean != ours.mean:  # nothing is defined: every scan was missed
        return "undefined"
    return f"{ours.mean:.2f}" + (f" ± {ours.std:.2f}" if ours.seeds > 1 else "")


def _gap(table: Table, line: Line) -> list[str]:
    c = line.comparison
    hardest = [_difference(c.hardest if c else None)] if table.has_hardest else []
    if c is None:
        return ["", *hardest, ""]
    seen = f" (detectable: {100 * c.detectable:.2f})" if c.verdict == "inconclusive" else ""
    return [_difference(c.gap), *hardest, c.verdict + seen]


def _difference(gap: Gap | None) -> str:
    """Difference and interval in % points; "" for none."""
    if gap is None:
        return ""
    interval = f" ({interval_words(gap, 100)})" if math.isfinite(gap.error) else ""
    return f"{100 * gap.mean:+.2f}{interval}"


def _numbers(table: Table, line: Line) -> list[str]:
    numbers = []
    for metric in table.metrics:
        ours = line.ours.get(metric)
        numbers += [_number(ours.mean), _number(ours.std)] if ours else ["", ""]
        numbers.append(_number(line.paper[metric]) if metric in line.paper else "")
    return numbers


def _gap_numbers(line: Line) -> list[str]:
    c = line.comparison
    if c is None:
        return [""] * len(GAP)
    seen = 100 * c.detectable if c.verdict == "inconclusive" else math.nan
    decided = [_number(c.p_holm), c.verdict, _number(seen)]
    return [*_points(c.gap), *decided, *_points(c.hardest), line.sentence]


def _points(gap: Gap | None) -> list[str]:
    """Difference and interval in % points."""
    return [_number(100 * v) for v in (gap.mean, gap.low, gap.high)] if gap else [""] * 3


def _number(value: float) -> str:
    return "" if value != value else f"{value:.6g}"


def _sentences(table: Table) -> Sequence[str]:
    return [line.sentence for line in table.lines if line.sentence]
