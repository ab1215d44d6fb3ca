"""A table as Markdown, CSV and LaTeX. Nothing is computed here, and nothing depends on the hour."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from simcvd.benchmark.table import PERCENT, Line, Table
from simcvd.files import write_text

METRIC_TITLES = {
    "dice": "Dice [%]",
    "jaccard": "Jaccard [%]",
    "hd95_pooled": "95HD",
    "hd95_directed_max": "95HD, larger direction",
    "asd_prediction_to_reference": "ASD, prediction to reference",
    "assd": "ASD, both directions",
}
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "<": r"$<$",
        ">": r"$>$",
    }
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
    rows = [[_escape(cell) for cell in _cells(table, line)] for line in table.lines]
    align = ["---", *["---:"] * (len(head) - 1)]
    body = ["| " + " | ".join(cells) + " |" for cells in (head, align, *rows)]
    sentences = [f"- {text}" for text in _sentences(table)]
    parts = [
        f"## {table.title}",
        *table.about,
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
    gap = ["dice_above_control", "low", "high", "p_holm", "verdict", "sentence"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["protocol", "hash", "row", "title", "labeled", "trainings", "missed", "looked_at"]
    writer.writerow([*head, *columns, *gap])
    for line in table.lines:
        about = [table.protocol, table.digest, line.row, line.title, line.labeled, line.trainings]
        about += [line.missed, line.looked_at] if line.ours else ["", ""]
        writer.writerow([*about, *_numbers(table, line), *_gap_numbers(line)])
    return text.getvalue()


def latex(table: Table) -> str:
    r"""A ``table`` environment for the package booktabs, with everything said in its caption."""
    head = _header(table)
    rows = [_cells(table, line) for line in table.lines]
    body = [" & ".join(cell.translate(LATEX) for cell in cells) + r" \\" for cells in (head, *rows)]
    words = [*table.about, *table.notes, *_sentences(table)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{table.title.translate(LATEX)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\raggedright",
            *(f"{text.translate(LATEX)}\\par" for text in words),
            r"\end{table}",
            "",
        ]
    )


def metric_title(metric: str) -> str:
    """ "95HD [mm]" and its like."""
    if metric in METRIC_TITLES:
        return METRIC_TITLES[metric]
    name, _, unit = metric.rpartition("_")
    return f"{METRIC_TITLES.get(name, name)} [{unit}]"


def _header(table: Table) -> list[str]:
    head = ["system", "labels", "trainings"]
    for metric in table.metrics:
        unit = "%" if metric in PERCENT else "voxels"
        head += [metric_title(metric), *([f"paper [{unit}]"] if table.has_paper else [])]
    return [*head, "missed", f"Dice above {table.control}", "verdict"]


def _cells(table: Table, line: Line) -> list[str]:
    cells = [line.title, str(line.labeled), str(line.trainings or "not run")]
    for metric in table.metrics:
        cells.append(_ours(line, metric))
        if table.has_paper:
            cells.append(f"{line.paper[metric]:.2f}" if metric in line.paper else "")
    return [*cells, f"{line.missed} of {line.looked_at}" if line.ours else "", *_gap(line)]


def _ours(line: Line, metric: str) -> str:
    if metric not in line.ours:
        return ""
    ours = line.ours[metric]
    if ours.mean != ours.mean:  # nothing is defined: every scan was missed
        return "undefined"
    return f"{ours.mean:.2f}" + (f" ± {ours.std:.2f}" if ours.seeds > 1 else "")


def _gap(line: Line) -> list[str]:
    if line.comparison is None:
        return ["", ""]
    c = line.comparison
    gap = f"{100 * c.mean:+.2f} ({100 * c.low:+.2f} to {100 * c.high:+.2f})"
    return [gap.replace("nan", "?"), c.verdict]


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
        return [""] * 6
    points = [_number(100 * value) for value in (c.mean, c.low, c.high)]
    return [*points, _number(c.p_holm), c.verdict, line.sentence]


def _number(value: float) -> str:
    return "" if value != value else f"{value:.6g}"


def _sentences(table: Table) -> Sequence[str]:
    return [line.sentence for line in table.lines if line.sentence]


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")
