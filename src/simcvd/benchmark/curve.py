"""Label efficiency: Dice against the number of labelled scans, a line a system, with bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.optimize import isotonic_regression

from simcvd import escape
from simcvd.benchmark.alike import check_alike
from simcvd.benchmark.results import RunResult
from simcvd.experiments import Row, row_title
from simcvd.scoring.comparison import spread
from simcvd.scoring.gap import mean_score
from simcvd.scoring.scores import LEVEL, bootstrap_mean, resamples
from simcvd.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Band = Literal["seeds", "scans"]
WIDTH = 1.06  # over which factor of the number of scans the lines of one number are spread
SPACE = 0.055  # least distance of two names at the right, as a part of the axis' height
# Colours that stay apart for the colour-blind (Okabe and Ito), a mark each so that print does too.
STYLES = [
    (colour, mark)
    for mark in "osD^"
    for colour in ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333")
]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Mean Dice in % at one number of labelled scans, its band, NaN where it has none."""

    labeled: int
    mean: float
    low: float
    high: float
    trainings: int


def points(results: Sequence[RunResult], *, band: Band) -> list[Point]:
    """The points of one system, by number of labelled scans.

    band: "seeds", one standard deviation (n - 1) over trainings either side of the mean, which a
    single training does not have; or "scans", the bootstrap interval over test scans of the
    scores averaged over seeds. The first shows what training again would change, the second what
    other test scans would.
    """
    by_count: dict[int, list[np.ndarray]] = {}
    for result in results:
        by_count.setdefault(result.labeled, []).append(100 * result.values["dice"])
    return [_point(count, by_count[count], band) for count in sorted(by_count)]


def label_efficiency(
    rows: Sequence[Row],
    results: Sequence[RunResult],
    *,
    band: Band = "seeds",
    reference: Sequence[RunResult] = (),
    title: str = "",
) -> Figure:
    """The figure. rows: which systems, in the order of their colours.

    reference: the trainings of one system with every label, drawn as a level to reach and not as
    a point of its curve. Raises SimcvdError where none of the rows was run, or for results that
    were not measured alike.
    """
    from matplotlib.figure import Figure

    ids, apart = {row.id for row in rows}, {result.folder for result in reference}
    used = [r for r in results if r.row in ids and r.folder not in apart]
    check_alike(used)
    check_alike([*used, *reference])
    groups = [(row.title, [r for r in used if r.row == row.id]) for row in rows]
    shown = [(name, points(group, band=band)) for name, group in groups if group]
    figure = Figure(figsize=(7.0, 4.2), layout="constrained", dpi=150)
    axes = figure.subplots()
    for index, (_, line) in enumerate(shown):
        _draw(axes, line, index, len(shown))
    if reference:
        _draw_reference(axes, reference)
    _label_axes(axes, used, title)
    _name_lines(axes, shown)
    figure.supxlabel(_about(used, shown, band), fontsize=7, color="#555555")
    return figure


def _point(count: int, dice: Sequence[np.ndarray], band: Band) -> Point:
    seeds = spread([mean_score(values) for values in dice])
    low, high = seeds.mean - seeds.std, seeds.mean + seeds.std
    if band == "scans":
        scans = bootstrap_mean(np.mean(dice, axis=0), resamples(len(dice[0])))
        low, high = scans.low, scans.high
    return Point(labeled=count, mean=seeds.mean, low=low, high=high, trainings=seeds.seeds)


def _draw(axes: Axes, line: Sequence[Point], index: int, lines: int) -> None:
    """A line, its band, and bars that stand side by side with the other lines'."""
    colour, mark = STYLES[index % len(STYLES)]
    counts, means, low, high = np.array([(p.labeled, p.mean, p.low, p.high) for p in line]).T
    counts = counts * WIDTH ** ((index + 0.5) / lines - 0.5)
    axes.fill_between(counts, low, high, color=colour, alpha=0.5 / (lines + 1), linewidth=0)
    axes.vlines(counts, low, high, color=colour, linewidth=1.0)
    axes.plot(counts, means, marker=mark, color=colour, linewidth=1.5, markersize=4.5)
    alone = np.array([p.trainings == 1 for p in line])
    axes.plot(counts[alone], means[alone], mark, color=colour, markerfacecolor="w", markersize=4.5)


def _draw_reference(axes: Axes, reference: Sequence[RunResult]) -> None:
    level, name = points(reference, band="seeds")[-1], reference[0].row
    axes.axhline(level.mean, color="#777777", linewidth=1, linestyle=(0, (5, 3)))
    axes.annotate(
        f"{escape.figure(row_title(name))}, all {level.labeled} labels: {level.mean:.1f}",
        (0.01, level.mean),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize="small",
        color="#555555",
    )


def _label_axes(axes: Axes, used: Sequence[RunResult], title: str) -> None:
    counts = sorted({result.labeled for result in used})
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xticks([], minor=True)
    axes.set_xlim(counts[0] / 1.15, counts[-1] * 1.15)
    axes.set(xlabel="labelled scans (logarithmic)", ylabel="mean Dice [%]", title=title)
    axes.margins(y=0.08)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _name_lines(axes: Axes, shown: Sequence[tuple[str, Sequence[Point]]]) -> None:
    """Each line's name at the right, in its colour; names that would overlap are moved apart."""
    low, high = axes.get_ylim()
    ends = [(line[-1].mean - low) / (high - low) for _, line in shown]
    for index, ((name, _), place) in enumerate(zip(shown, apart(ends, SPACE), strict=True)):
        line = axes.lines[2 * index]  # `_draw` plots two: all points, then the hollow ones
        axes.annotate(
            name,
            tuple(np.asarray(line.get_xydata())[-1]),
            xytext=(1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize="small",
            color=str(line.get_color()),
            arrowprops={
                "arrowstyle": "-",
                "color": line.get_color(),
                "alpha": 0.4,
                "lw": 0.7,
                "relpos": (0, 0.5),
            },
        )


def apart(places: Sequence[float], space: float) -> list[float]:
    """Places moved as little as may be until any two are ``space`` apart, within 0 and 1.

    Least squares in the same order: neighbours too close share the mean of what they want.
    """
    order = np.argsort(places, kind="stable")
    below = space * np.arange(len(places))  # what those below each one take
    wanted = isotonic_regression(np.asarray(places)[order] - below).x
    moved = np.empty(len(places))
    moved[order] = wanted.clip(0, max(1 - space * (len(places) - 1), 0)) + below
    return moved.tolist()


def _about(
    used: Sequence[RunResult], shown: Sequence[tuple[str, Sequence[Point]]], band: Band
) -> str:
    """What the bands are, and under what all of it was measured."""
    trainings = {point.trainings for _, line in shown for point in line}
    bands = {
        "seeds": "Band: one standard deviation over trainings either side",
        "scans": f"Band: {LEVEL} % bootstrap interval over test scans",
    }[band]
    few, many = min(trainings), max(trainings)
    number = f"{few}" if few == many else f"{few} to {many}"
    hollow = "; hollow: a single training, which has no spread" if few == 1 else ""
    protocol, under = used[0].protocol, "no protocol"
    if protocol:
        under = f"protocol {escape.figure(protocol['name'])} ({protocol['hash']})"
    scans = counted(len(used[0].cases), "scan")
    return f"{bands} ({number} trainings a point{hollow}).\n{scans}; {under}."
