"""Figures as pure functions: data in, a matplotlib Figure out; no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simcvd.engine.log import Row
from simcvd.types import Triple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREDICTION, REFERENCE = "#e02020", "#2060ff"  # red and blue, as in the paper's Figs. 2 and 3
PLANES = (("Y", "Z"), ("X", "Z"), ("X", "Y"))


def curves(log: Sequence[Row], title: str) -> Figure:
    """Every loss term of a training against the step, on a logarithmic axis."""
    figure = _figure(7.0, 3.2)
    axes = figure.subplots()
    terms = dict.fromkeys(name for row in log for name in row if name.startswith("term/"))
    for name in terms:
        points = [(row["step"], row[name]) for row in log if row.get(name, 0.0) > 0]
        steps, values = zip(*points, strict=True) if points else ((), ())
        axes.plot(steps, values, label=name.removeprefix("term/"), linewidth=1.2)
    axes.set(xlabel="iteration", ylabel="loss term, unweighted", yscale="log", title=title)
    axes.grid(alpha=0.3)
    axes.legend(ncols=len(terms) or 1, fontsize="small", frameon=False)
    return figure


def overlay(
    image: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    reference: np.ndarray,
    spacing: Triple,
) -> Figure:
    """Three orthogonal slices a row, a row a prediction: outlines red, the reference's blue.

    image ``[X, Y, Z]``; predictions by name and reference ``[X, Y, Z]`` of class indices. The
    slices go through the middle of the reference's foreground.
    """
    centre = _middle(reference > 0)
    figure = _figure(7.5, 2.6 * len(predictions))
    grid = figure.subplots(len(predictions), 3, squeeze=False)
    low, high = np.percentile(image, (1, 99))
    for row, (name, prediction) in zip(grid, predictions.items(), strict=True):
        for axis, axes in enumerate(row):
            across, up = (a for a in range(3) if a != axis)
            axes.imshow(
                image.take(centre[axis], axis).T,
                cmap="gray",
                vmin=low,
                vmax=high,
                origin="lower",
                aspect=spacing[up] / spacing[across],
            )
            _outline(axes, reference.take(centre[axis], axis), REFERENCE)
            _outline(axes, prediction.take(centre[axis], axis), PREDICTION)
            axes.set(xticks=[], yticks=[], xlabel=PLANES[axis][0], ylabel=PLANES[axis][1])
        row[1].set_title(name, fontsize="medium")
    return figure


def paired(names: Sequence[str], control: np.ndarray, others: Mapping[str, np.ndarray]) -> Figure:
    """Dice of each case minus the control's, a mark a case; ``[cases]`` in per cent points."""
    figure = _figure(7.0, 0.9 + 0.32 * len(names))
    axes = figure.subplots()
    for index, (name, values) in enumerate(others.items()):
        places = np.arange(len(names)) + 0.18 * index
        axes.hlines(places, 0, values - control, color=f"C{index}", alpha=0.4)
        axes.plot(values - control, places, "o", color=f"C{index}", label=name)
    axes.axvline(0, color="gray", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.margins(y=0.6 / len(names))
    axes.set(xlabel="Dice above the control's [points]")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _middle(mask: np.ndarray) -> tuple[int, ...]:
    """The slice with most foreground along each axis; the array's middle where there is none."""
    if not mask.any():
        return tuple(n // 2 for n in mask.shape)
    others = ((1, 2), (0, 2), (0, 1))
    return tuple(int(mask.sum(axis=axes).argmax()) for axes in others)


def _outline(axes: Axes, labels: np.ndarray, colour: str) -> None:
    for value in np.unique(labels[labels > 0]):
        axes.contour((labels == value).T, levels=[0.5], colors=[colour], linewidths=1.2)
