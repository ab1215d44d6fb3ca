"""One self-contained page: nothing is fetched, so it can be mailed and opened anywhere."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcvd import __version__
from simcvd.data.cache import Cache
from simcvd.data.io import read_label
from simcvd.report import figures
from simcvd.report.results import METRICS, Result, difference, sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_CASES = 4


def write_page(
    out: Path, cache: Cache, results: Sequence[Result], *, title: str, notes: Sequence[str] = ()
) -> Path:
    """Write ``report.html``: the answer, the table, the curves, and scans with outlines.

    results: the control first. notes: what a reader must know of the data and the settings.
    """
    import jinja2

    control, others = results[0], results[1:]
    names = {result.name: result for result in results}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("simcvd.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template("template.html").render(
        title=title,
        version=__version__,
        answer=sentence(control, others),
        notes=notes,
        metrics=METRICS,
        rows=[_row(result, None if result is control else control) for result in results],
        paired=_paired(control, others),
        curves=[_png(figures.curves(result.log, result.name)) for result in results],
        cases=[(case, _overlay(cache, case, names)) for case in _chosen(control)],
    )
    path = out / "report.html"
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def _row(result: Result, control: Result | None) -> dict[str, Any]:
    """One line of the table."""
    gap = None if control is None else difference(control, result)
    shown = {}
    for metric in METRICS:
        mean = result.summary["means"][metric]
        scale = 100 if metric in ("dice", "jaccard") else 1
        numbers = (mean["mean"], mean["low"], mean["high"])
        shown[metric] = [None if n is None else round(scale * n, 2) for n in numbers]
    return {
        "name": result.name,
        "values": shown,
        "missed": result.summary["missed"],
        "gap": "" if gap is None else _signed(gap.mean, gap.low, gap.high),
    }


def _signed(*values: float) -> str:
    mean, low, high = (f"{100 * v:+.1f}" if math.isfinite(v) else "?" for v in values)
    return f"{mean} ({low} to {high})"


def _paired(control: Result, others: Sequence[Result]) -> str:
    dice = {r.name: 100 * np.nanmean(r.dice, axis=1) for r in (control, *others)}
    figure = figures.paired(
        control.cases, dice[control.name], {r.name: dice[r.name] for r in others}
    )
    return _png(figure)


def _chosen(control: Result) -> list[str]:
    """Cases from the control's worst to its best, evenly spaced: not the prettiest ones."""
    order = np.argsort(np.nan_to_num(np.nanmean(control.dice, axis=1)))
    places = np.linspace(0, len(order) - 1, min(SHOWN_CASES, len(order))).round().astype(int)
    return [control.cases[order[place]] for place in places]


def _overlay(cache: Cache, name: str, results: dict[str, Result]) -> str:
    case = cache.case(name)
    values = cache.manifest.label_values
    predictions = {}
    for title, result in results.items():
        array = read_label(result.predictions / f"{name}.nii.gz").array
        index = {value: k for k, value in values.items()}
        predictions[title] = np.vectorize(index.__getitem__, otypes=[int])(array)
    image = np.asarray(case.image[0], dtype=np.float32)
    x, y, z = case.info["spacing"]
    return _png(figures.overlay(image, predictions, np.asarray(case.label), (x, y, z)))


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
