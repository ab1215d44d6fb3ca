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
from simcvd.types import Triple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

PREDICTION, REFERENCE = "#f02020", "#3080ff"  # red and blue, as in the paper's Figs. 2 and 3
DIRECTIONS = (("L", "R"), ("P", "A"), ("I", "S"))  # where X, Y, Z of a RAS+ array start and end
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


def overlay(
    image: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    reference: np.ndarray,
    spacing: Triple,
) -> Figure:
    """Three orthogonal slices a row, a row a prediction: outlines red, the reference's blue.

    image ``[X, Y, Z]`` with RAS+ axes; predictions by title and reference ``[X, Y, Z]`` of class
    indices. The slices are those with most of the reference's foreground; all have one scale in
    mm, and letters tell the patient's right, left, anterior, posterior, superior and inferior.
    """
    centre = middle(reference > 0)
    size = np.multiply(image.shape, spacing)
    widths, heights = size[[1, 0, 0]], size[[2, 2, 1]]
    row_height = WIDTH * heights.max() / widths.sum() + 0.3
    figure = _figure(row_height * len(predictions))
    grid = figure.subplots(len(predictions), 3, squeeze=False, width_ratios=list(widths))
    low, high = np.percentile(image, (1, 99))
    for panels, (title, prediction) in zip(grid, predictions.items(), strict=True):
        for axis, axes in enumerate(panels):
            scan, blue, red = (
                array.take(centre[axis], axis) for array in (image, reference, prediction)
            )
            show_slice(axes, scan, spacing, axis, (low, high))
            outline(axes, blue, REFERENCE, 2.2)  # wider, so that it shows where both agree
            outline(axes, red, PREDICTION, 1.0)
        panels[1].set_title(escape.figure(title), fontsize="medium")
    _scale_bar(grid[0, 2], widths[2], spacing[0])
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


def middle(mask: np.ndarray) -> tuple[int, ...]:
    """The slice with most foreground along each axis; the array's middle where there is none."""
    if not mask.any():
        return tuple(n // 2 for n in mask.shape)
    others = ((1, 2), (0, 2), (0, 1))
    return tuple(int(mask.sum(axis=axes).argmax()) for axes in others)


def show_slice(
    axes: Axes, scan: np.ndarray, spacing: Triple, axis: int, window: tuple[float, float]
) -> None:
    """A grey slice whose voxels have their true shape, with letters for its directions."""
    across, up = (a for a in range(3) if a != axis)
    aspect = spacing[up] / spacing[across]
    low, high = window
    axes.imshow(scan.T, cmap="gray", vmin=low, vmax=high, origin="lower", aspect=aspect)
    axes.set(xticks=[], yticks=[])
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))
    aligned = (("left", "center"), ("right", "center"), ("center", "bottom"), ("center", "top"))
    letters = (*DIRECTIONS[across], *DIRECTIONS[up])
    for (x, y), (ha, va), letter in zip(places, aligned, letters, strict=True):
        text = axes.text(x, y, letter, ha=ha, va=va, transform=axes.transAxes, fontsize="small")
        _on_dark(text)


def _scale_bar(axes: Axes, width_mm: float, voxel_mm: float) -> None:
    """A bar of a round length, about a fifth of the slice."""
    unit = 10 ** np.floor(np.log10(width_mm / 5))
    length = max(unit * step for step in (1, 2, 5) if unit * step <= width_mm / 5)
    end = width_mm / voxel_mm * 0.97
    axes.plot([end - length / voxel_mm, end], [0, 0], color="white", linewidth=3)
    text = axes.text(end, 1, f"{length:g} mm", ha="right", va="bottom", fontsize="small")
    _on_dark(text)


def _on_dark(text: Text) -> None:
    """White letters with a dark rim: legible on any tissue."""
    from matplotlib.patheffects import withStroke

    text.set_color("white")
    text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def outline(axes: Axes, labels: np.ndarray, colour: str, width: float) -> None:
    for value in np.unique(labels[labels > 0]):
        axes.contour((labels == value).T, levels=[0.5], colors=[colour], linewidths=width)
