"""Figures as pure functions: data in, a matplotlib Figure out; no global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simcvd import escape
from simcvd.scoring.gap import Gap
from simcvd.scoring.scores import LEVEL
from simcvd.training.log import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH, DPI = 7.2, 110  # inches; wide enough for a page, legible on a phone


def curves(logs: Mapping[str, Sequence[Row]]) -> Figure:
    """A panel for each loss term, unweighted, against the iteration; a colour for each training.

    The thin line is what was logged, the thick one its mean over a tenth of the rows. The title
    names the range of the term's weight. Positive terms that fall far are on a logarithmic axis.
    """
    terms = dict.fromkeys(
        key for log in logs.values() for row in log for key in row if key.startswith("term/")
    )
    rows = max(1, -(-len(terms) // 2))
    figure = _figure(0.4 + 2.1 * rows)
    panels = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    for axes, term in zip(panels, terms, strict=False):
        _curve(axes, term, logs)
    for axes in panels[len(terms) :]:
        axes.set_visible(False)
    for axes in panels[: len(terms)][-2:]:
        axes.tick_params(labelbottom=True)  # also where the panel below is hidden
    figure.supxlabel("iteration", fontsize="medium")
    handles = [_line(index) for index in range(len(logs))]
    figure.legend(
        handles,
        list(map(escape.figure, logs)),
        loc="outside upper center",
        ncols=len(logs),
        frameon=False,
    )
    return figure


def paired(
    names: Sequence[str],
    control: np.ndarray,
    others: Mapping[str, np.ndarray],
    gaps: Mapping[str, Gap],
) -> Figure:
    """Dice of each case minus the control's, from the largest gain to the largest loss.

    control and others: ``[cases]`` in per cent. gaps: the mean difference of each of the others
    with its interval, if it has one, as fractions; it stands in the bottom row.
    """
    first = next(iter(others.values()), control)
    order = np.argsort(np.nan_to_num(control - first), kind="stable")
    figure = _figure(1.1 + 0.3 * (len(names) + 1))
    axes = figure.subplots()
    for index, (name, values) in enumerate(others.items()):
        gain, places = (values - control)[order], np.arange(len(names)) + 0.2 * index
        axes.hlines(places, 0, gain, color=f"C{index + 1}", alpha=0.5)
        axes.plot(gain, places, "o", color=f"C{index + 1}", label=escape.figure(name))
        _interval(axes, gaps[name], len(names) + 0.2 * index, f"C{index + 1}")
    axes.axvline(0, color="gray", linewidth=1)
    axes.axhline(len(names) - 0.5, color="gray", linewidth=0.5)
    known = any(math.isfinite(gap.error) for gap in gaps.values())
    shown = [escape.figure(names[i]) for i in order]
    labels = [*shown, f"mean, {LEVEL} %" if known else "mean"]
    axes.set_yticks(range(len(names) + 1), labels)
    axes.set_ylim(len(names) + 0.6, -0.6)
    axes.set(xlabel="Dice minus the control's [per cent points]; right of 0: better")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(others) or 1, frameon=False)
    return figure


def rounds(labeled: Sequence[int], dice: Mapping[str, Sequence[float]]) -> Figure:
    """Dice of each arm in per cent, NaN where not scored, over the rounds' labelled scans."""
    figure = _figure(2.8)
    axes = figure.subplots()
    for index, (arm, values) in enumerate(dice.items()):
        axes.plot(labeled, values, "o-", color=f"C{index}", label=escape.figure(arm))
    axes.set(xlabel="labelled scans", ylabel="cross-validated Dice [%]")
    axes.set_xticks(sorted(set(labeled)))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(dice), frameon=False)
    return figure


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained", dpi=DPI)


def _line(index: int) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=f"C{index}", linewidth=2)


def _curve(axes: Axes, term: str, logs: Mapping[str, Sequence[Row]]) -> None:
    """One term of every training that has it."""
    name, everything = term.removeprefix("term/"), []
    for index, log in enumerate(logs.values()):
        rows = [row for row in log if term in row]
        steps, values = [row["step"] for row in rows], [row[term] for row in rows]
        axes.plot(steps, values, color=f"C{index}", linewidth=0.8, alpha=0.4)
        axes.plot(steps, _running_mean(values, len(log) // 10), color=f"C{index}", linewidth=2)
        everything += values
    weights = [row[f"weight/{name}"] for log in logs.values() for row in log if term in row]
    axes.set_title(f"{escape.figure(name)}, {_range(weights)}", fontsize="medium")
    if min(everything) > 0 and max(everything) > 20 * min(everything):
        axes.set_yscale("log")
    axes.grid(alpha=0.3)


def _running_mean(values: Sequence[float], width: int) -> list[float]:
    """The mean of each value and the ``width`` before it."""
    return [float(np.mean(values[max(0, i - width) : i + 1])) for i in range(len(values))]


def _range(weights: Sequence[float]) -> str:
    low, high = min(weights), max(weights)
    return f"weight {high:.2g}" if low == high else f"weight {low:.2g} to {high:.2g}"


def _interval(axes: Axes, gap: Gap, place: float, colour: str) -> None:
    axes.plot([100 * gap.low, 100 * gap.high], [place, place], color=colour, linewidth=5, alpha=0.4)
    axes.plot([100 * gap.mean], [place], "D", color=colour)
