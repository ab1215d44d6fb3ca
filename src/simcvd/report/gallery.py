"""The same scans by every system, as the paper's Figs. 2 and 3: prediction red, reference blue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simcvd import escape
from simcvd.distance import Box, bounding_box
from simcvd.report.figures import DPI
from simcvd.report.sprites import ENDS
from simcvd.report.surface import render
from simcvd.types import Triple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

PREDICTION, REFERENCE = "#f02020", "#3080ff"  # red and blue, as in the paper's Figs. 2 and 3
COLUMN = 2.0  # inches of a system


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One scan: image and reference ``[X, Y, Z]`` with RAS+ axes, and what each system found in it.

    spacing: mm. predictions: label maps as the reference's, by the system's title. dice: in %.
    """

    name: str
    image: np.ndarray
    reference: np.ndarray
    spacing: Triple
    predictions: Mapping[str, np.ndarray]
    dice: Mapping[str, float]


def gallery(scans: Sequence[Shown], titles: Sequence[str]) -> Figure:
    """A column a system; two rows a scan, an axial slice with outlines and the surfaces below it.

    The slice is the one with most of the reference's foreground. The surfaces, of all classes
    together, are seen from the patient's back, so that left is left in both. A system that has no
    prediction of a scan leaves its two panels empty.
    """
    from matplotlib.figure import Figure

    boxes = [_box(scan) for scan in scans]
    heights = [h for scan, box in zip(scans, boxes, strict=True) for h in _heights(scan, box)]
    width = COLUMN * max(len(titles), 2)
    height = sum(heights) * width / len(titles) + 0.3 + 0.4 * len(scans)
    figure = Figure(figsize=(width, height), layout="constrained", dpi=DPI)
    grid = figure.subplots(len(heights), len(titles), squeeze=False, height_ratios=heights)
    for index, (scan, box) in enumerate(zip(scans, boxes, strict=True)):
        pairs = grid[2 * index : 2 * index + 2].T
        for pair, title in zip(pairs, titles, strict=True):
            if title in scan.predictions:
                _draw(pair, scan, title, box)
            else:
                for axes in pair:
                    axes.set_axis_off()
        pairs[0][0].set_ylabel(escape.figure(scan.name), fontsize="x-small")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(escape.figure(title), fontsize="medium")
    return figure


def _box(scan: Shown) -> Box:
    """What holds the foreground of the reference and of every system; the whole where none does."""
    foreground = np.any([labels > 0 for labels in (scan.reference, *scan.predictions.values())], 0)
    return bounding_box(foreground) if foreground.any() else np.s_[:, :, :]


def _heights(scan: Shown, box: Box) -> tuple[float, float]:
    """Of the slice and of the surfaces, the width of a column being 1."""
    x, y, _ = np.multiply(scan.image.shape, scan.spacing)
    across, _, up = np.multiply(scan.image[box].shape, scan.spacing)
    return y / x, up / across


def _draw(pair: Sequence[Axes], scan: Shown, title: str, box: Box) -> None:
    from matplotlib.colors import to_rgb

    above, below = pair
    prediction, place = scan.predictions[title], _fullest(scan.reference > 0)
    low, high = np.percentile(scan.image, (1, 99))
    _show_slice(above, scan.image[..., place], scan.spacing, (low, high))
    _outline(above, scan.reference[..., place], REFERENCE, 1.6)  # wider: it shows where both agree
    _outline(above, prediction[..., place], PREDICTION, 0.8)
    masks = prediction[box] > 0, scan.reference[box] > 0
    below.imshow(render(masks, (to_rgb(PREDICTION), to_rgb(REFERENCE)), scan.spacing))
    below.set(xticks=[], yticks=[])
    below.spines[:].set_visible(False)
    below.set_xlabel(f"Dice {scan.dice[title]:.1f}", fontsize="small")


def _fullest(mask: np.ndarray) -> int:
    """The axial slice with most foreground; the middle one where there is none."""
    return int(mask.sum(axis=(0, 1)).argmax()) if mask.any() else mask.shape[2] // 2


def _show_slice(axes: Axes, scan: np.ndarray, spacing: Triple, window: tuple[float, float]) -> None:
    """A grey axial slice whose voxels have their true shape, with letters for its directions."""
    aspect = spacing[1] / spacing[0]
    low, high = window
    axes.imshow(scan.T, cmap="gray", vmin=low, vmax=high, origin="lower", aspect=aspect)
    axes.set(xticks=[], yticks=[])
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))
    aligned = (("left", "center"), ("right", "center"), ("center", "bottom"), ("center", "top"))
    for (x, y), (ha, va), letter in zip(places, aligned, (*ENDS[0], *ENDS[1]), strict=True):
        text = axes.text(x, y, letter, ha=ha, va=va, transform=axes.transAxes, fontsize="small")
        _on_dark(text)


def _on_dark(text: Text) -> None:
    """White letters with a dark rim: legible on any tissue."""
    from matplotlib.patheffects import withStroke

    text.set_color("white")
    text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _outline(axes: Axes, labels: np.ndarray, colour: str, width: float) -> None:
    for value in np.unique(labels[labels > 0]):
        axes.contour((labels == value).T, levels=[0.5], colors=[colour], linewidths=width)
