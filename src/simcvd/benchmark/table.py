"""One table of results: rows in a given order, the paper's numbers beside ours, what can be told.

`make_table` computes; :mod:`simcvd.benchmark.render` only writes down what stands in a `Table`, so
that Markdown, CSV and LaTeX cannot differ. The same results give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from simcvd.benchmark.alike import check_alike
from simcvd.benchmark.results import RunResult
from simcvd.experiments import Row, paper_numbers
from simcvd.scoring.comparison import Comparison, Spread, compare, correct, spread
from simcvd.scoring.gap import POWER, mean_score
from simcvd.scoring.scores import LEVEL
from simcvd.scoring.titles import scale
from simcvd.scoring.words import sentence
from simcvd.wording import by

METRICS = ("dice", "jaccard", "assd_mm", "hd95_pooled_mm")  # where no protocol names others
Key = tuple[str, int]  # a row's id and a number of labelled scans


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row at one number of labelled scans. Percent, voxels or mm, by metric.

    ours: empty where it was not run. paper: the paper's numbers of the corresponding metrics.
    missed: classes of scans missed, of so many ``looked_at``, over all trainings.
    comparison: Dice against the control's, as a fraction; None for the control itself and where
    either was not run. sentence: the same in words, or "".
    """

    row: str
    title: str
    labeled: int
    ours: Mapping[str, Spread]
    paper: Mapping[str, float]
    missed: int = 0
    looked_at: int = 0
    comparison: Comparison | None = None
    sentence: str = ""

    @property
    def trainings(self) -> int:
        """How many seeds were run."""
        return max((s.seeds for s in self.ours.values()), default=0)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table ready to be written. protocol, digest: name and hash, "" if made under none.

    control: title of the row that others are held against. about: sentences above the table;
    notes: those below, before every line's own. has_paper: whether there are numbers to show.
    """

    title: str
    protocol: str
    digest: str
    control: str
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    about: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def has_paper(self) -> bool:
        """Whether the paper has a number for any line."""
        return any(line.paper for line in self.lines)

    @property
    def has_hardest(self) -> bool:
        """Whether the hardest scans could be named for any line."""
        return any(line.comparison and line.comparison.hardest for line in self.lines)


def make_table(
    title: str,
    control: str,
    rows: Sequence[Row],
    results: Sequence[RunResult],
    *,
    labeled: Sequence[int] | None = None,
    findings: Sequence[str] = (),
) -> Table:
    """Compute a table.

    title, control, rows: of `simcvd.experiments.sections`; control is a row's id. results: those
    of other rows are passed over. labeled: blocks of the table in their order; by default all
    there are, from many labels to few, as the paper has them. findings: sentences of the leak
    audit, to stand above the table. A row that was not run is shown as such, where the paper has
    a number for it or it is expected at every count.

    Raises SimcvdError where no row was run, or for results that were not measured alike.
    """
    ids = {row.id for row in rows}
    used = [result for result in results if result.row in ids]
    check_alike(used)
    settings: Mapping[str, Any] = (used[0].protocol or {}).get("settings", {})
    metrics = tuple(settings.get("metrics", METRICS))
    groups: dict[Key, list[RunResult]] = {}
    for result in sorted(used, key=lambda r: r.seed):
        groups.setdefault((result.row, result.labeled), []).append(result)
    counts = labeled or sorted({count for _, count in groups}, reverse=True)
    compared = _compare(control, groups, counts)
    titles = {row.id: row.title for row in rows}
    lines = [
        _line(row, count, groups.get((row.id, count), []), metrics, settings)
        for count in counts
        for row in rows
        if (row.id, count) in groups or _expected(row, count)
    ]
    return Table(
        title=title,
        protocol=(used[0].protocol or {}).get("name", ""),
        digest=(used[0].protocol or {}).get("hash", ""),
        control=titles.get(control, control),
        metrics=metrics,
        lines=tuple(_with_comparison(line, compared, titles.get(control, "")) for line in lines),
        about=(*_about(used[0]), *findings),
        notes=(*_notes(lines, compared, settings), *_uncompared(lines, control, titles)),
    )


def _expected(row: Row, count: int) -> bool:
    """Rows without numbers of the paper belong to every block, others where the paper has them."""
    return not row.paper or count in row.paper


def _compare(
    control: str, groups: Mapping[Key, list[RunResult]], counts: Sequence[int]
) -> dict[Key, Comparison]:
    """Every row against the control with as many labels, in Dice; Holm over all of them."""
    controls = {count for row, count in groups if row == control and count in counts}
    keys = [key for key in groups if key[0] != control and key[1] in controls]
    comparisons = [_against(groups[control, key[1]], groups[key]) for key in keys]
    return dict(zip(keys, correct(comparisons), strict=True))


def _against(control: Sequence[RunResult], other: Sequence[RunResult]) -> Comparison:
    """Results in the order of their seeds; pairs where those of each seed share their start."""
    same = [a.seed for a in control] == [b.seed for b in other]
    paired = same and all(a.starts & b.starts for a, b in zip(control, other, strict=True))
    return compare(_dice(control), _dice(other), paired=paired)


def _dice(results: Sequence[RunResult]) -> list[Any]:
    return [result.values["dice"] for result in results]


def _line(
    row: Row,
    count: int,
    results: Sequence[RunResult],
    metrics: Sequence[str],
    settings: Mapping[str, Any],
) -> Line:
    ours = {m: _spread(m, results) for m in metrics} if results else {}
    numbers = paper_numbers(settings.get("paper"), row.id, count)
    known = {} if numbers is None else numbers._asdict()
    paper = {m: known.get(m.split("_")[0].replace("assd", "asd"), math.nan) for m in metrics}
    return Line(
        row=row.id,
        title=row.title,
        labeled=count,
        ours=ours,
        paper={m: value for m, value in paper.items() if not math.isnan(value)},
        missed=sum(result.missed for result in results),
        looked_at=sum(len(result.cases) * len(result.classes) for result in results),
    )


def _spread(metric: str, results: Sequence[RunResult]) -> Spread:
    return spread([scale(metric) * mean_score(result.values[metric]) for result in results])


def _with_comparison(line: Line, compared: Mapping[Key, Comparison], control: str) -> Line:
    comparison = compared.get((line.row, line.labeled))
    if comparison is None:
        return line
    words = sentence(line.title, control, comparison, what="Dice", scale=100)
    return replace(line, comparison=comparison, sentence=f"{line.labeled} labels: {words}")


def _about(result: RunResult) -> tuple[str, ...]:
    """Under what the numbers were measured."""
    scoring, protocol = result.conditions["scoring"], result.protocol
    measured = (
        f"{len(result.cases)} {scoring['split']} scans, windows at stride "
        f"{by(scoring['stride'])}{', tapered' if scoring['tapered'] else ''}, "
        f"data {str(result.conditions['data'])[:12]}."
    )
    if protocol is None:
        return (f"No protocol: the runs name none. {measured}",)
    return (f"Protocol {protocol['name']}, hash {protocol['hash']}. {measured}",)


def _notes(
    lines: Sequence[Line], compared: Mapping[Key, Comparison], settings: Mapping[str, Any]
) -> tuple[str, ...]:
    """How to read the numbers, as far as it matters for these."""
    notes = []
    if any(line.trainings > 1 for line in lines):
        notes.append(
            "±: standard deviation (n - 1) over trainings that differ in their seed alone."
        )
    if any(line.trainings == 1 for line in lines):
        notes.append(
            "Of a single training no spread is known: a difference to or from it has neither an "
            "interval nor a verdict."
        )
    notes += _about_comparisons(list(compared.values()))
    if any(line.missed for line in lines):
        notes.append(
            "A missed class counts as 0 in Dice and Jaccard; no distance is defined there, and "
            "the mean distance is over the rest."
        )
    if any(line.paper for line in lines):
        notes.append(_about_paper(settings))
    return tuple(notes)


def _about_comparisons(compared: Sequence[Comparison]) -> list[str]:
    """How differences were judged, as far as any was."""
    notes = []
    if tested := [c for c in compared if c.verdict != "no verdict"]:
        pairs = any(c.kind == "pairs" for c in tested)
        by_seed = " and, where trainings began with the same weights, by seed" if pairs else ""
        notes.append(
            f"Differences: mean and {LEVEL} % interval over trainings and scans, paired by scan"
            f"{by_seed}; p after Holm's correction for the {len(tested)} comparisons of this table "
            "that have one. Detectable: the least true difference that so many trainings and scans "
            f"find with {100 * POWER:.0f} % power."
        )
    if any(c.hardest for c in compared):
        notes.append(
            "Hardest quarter: the difference on the quarter of the scans on which the control's "
            "other trainings do worst. It has no verdict of its own."
        )
    return notes


def _uncompared(lines: Sequence[Line], control: str, titles: Mapping[str, str]) -> tuple[str, ...]:
    """Where there was nothing to hold the rows against."""
    run = {(line.row, line.labeled) for line in lines if line.ours}
    counts = dict.fromkeys(count for row, count in run if row != control)
    name = titles.get(control, control)
    return tuple(
        f"With {count} labels nothing is compared: the control, {name}, was not run."
        for count in sorted(counts, reverse=True)
        if (control, count) not in run
    )


def _about_paper(settings: Mapping[str, Any]) -> str:
    units = "The paper's distances are in voxels"
    if settings.get("comparable"):
        return f"{units}, measured as ours."
    return (
        f"{units} and it measured under another protocol: its numbers are no target for these, "
        "and a difference from them says nothing of the method."
    )
