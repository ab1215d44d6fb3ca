"""One self-contained page: nothing is fetched, so it can be mailed and opened anywhere."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcvd import __version__
from simcvd.data.cache import Cache
from simcvd.files import write_text
from simcvd.formats import read_label
from simcvd.naming import inside
from simcvd.report import figures
from simcvd.report.results import METRICS, Result, compare_all, sentence
from simcvd.report.rounds import RoundSummary
from simcvd.scoring.comparison import Comparison
from simcvd.scoring.gap import Gap
from simcvd.scoring.scores import Mean
from simcvd.scoring.titles import metric_title, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_CASES = 4


def write_page(
    out: Path,
    cache: Cache,
    results: Sequence[Result],
    *,
    title: str,
    notes: Sequence[str] = (),
    answer: str | None = None,
    gaps: Sequence[Comparison] | None = None,
    scored: str = "test scans",
    rounds: Sequence[RoundSummary] = (),
) -> Path:
    """Write ``report.html``: the answer, the table, the curves, and scans with outlines.

    results: the control first, or one alone. notes: what a reader must know of the data and the
    settings. answer: the sentence at the top, by default how the others stand against the control.
    gaps: each of the others compared with the control, by default as single trainings. scored: what
    the scans that were scored are called. rounds: those up to this one, where there were several.
    """
    import jinja2

    control, others = results[0], results[1:]
    gaps = compare_all(control, others) if gaps is None else gaps
    shown = _spread(control)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("simcvd.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("template.html").render(
        title=title,
        version=__version__,
        answer=answer or (sentence(control, others, gaps) if others else _alone(control, scored)),
        scored=scored,
        notes=notes,
        arms=list(rounds[-1].dice) if rounds else [],
        rounds=[_round(number, one) for number, one in enumerate(rounds, start=1)],
        metrics={metric: metric_title(metric) for metric in METRICS},
        columns=[_column(result, gap) for result, gap in zip(results, (None, *gaps), strict=True)],
        hardest=any(gap.hardest for gap in gaps),
        decided=any(gap.verdict != "no verdict" for gap in gaps),
        paired=_paired(control, others, gaps) if others else None,
        curves=_png(figures.curves({result.name: result.log for result in results})),
        shown=[(case, _overlay(cache, case, results)) for case in shown],
        others=[
            (case, _overlay(cache, case, results)) for case in control.cases if case not in shown
        ],
    )
    path = out / "report.html"
    write_text(path, text)
    return path


def _alone(result: Result, scored: str) -> str:
    """What there is to say of a run with no other beside it."""
    value, interval = _cell("dice", result.summary.means["dice"])
    within = f" ({interval})" if interval else ""
    return f"{result.name}: mean Dice {value}{within} over {len(result.cases)} {scored}."


def _round(number: int, one: RoundSummary) -> dict[str, Any]:
    dice = {arm: f"{100 * value:.1f}" for arm, value in one.dice.items() if math.isfinite(value)}
    return {"number": number, "labeled": one.labeled, "dice": dice, "minutes": f"{one.minutes:.1f}"}


def _column(result: Result, compared: Comparison | None) -> dict[str, Any]:
    """One method in the table; the control is compared with nothing."""
    means = result.summary.means
    return {
        "name": result.name,
        "values": {metric: _cell(metric, means[metric]) for metric in METRICS},
        "missed": f"{result.summary.missed} of {result.summary.cases}",
        "gap": _signed(compared.gap) if compared else ("control", ""),
        "hardest": _signed(compared.hardest) if compared and compared.hardest else ("", ""),
    }


def _cell(metric: str, mean: Mean) -> tuple[str, str]:
    """Mean and interval as they stand in the table; "" for an interval that is not defined."""
    if math.isnan(mean.mean):
        return "undefined", ""
    value, low, high = (scale(metric) * number for number in (mean.mean, mean.low, mean.high))
    return f"{value:.1f}", f"{low:.1f} to {high:.1f}" if math.isfinite(low) else ""


def _signed(gap: Gap) -> tuple[str, str]:
    interval = f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}" if math.isfinite(gap.low) else ""
    return (f"{100 * gap.mean:+.1f}" if math.isfinite(gap.mean) else "undefined"), interval


def _paired(control: Result, others: Sequence[Result], compared: Sequence[Comparison]) -> str:
    dice = {result.name: _case_dice(result) for result in others}
    gaps = {result.name: c.gap for result, c in zip(others, compared, strict=True)}
    return _png(figures.paired(control.cases, _case_dice(control), dice, gaps))


def _case_dice(result: Result) -> np.ndarray:
    """Per cent, ``[cases]``: mean over the classes defined in each, NaN if none is."""
    defined = ~np.isnan(result.dice)
    sums, counts = np.where(defined, result.dice, 0).sum(axis=1), defined.sum(axis=1)
    undefined = np.full(len(sums), math.nan)
    return np.asarray(100 * np.divide(sums, counts, out=undefined, where=counts > 0))


def _spread(control: Result) -> list[str]:
    """Cases from the control's worst to its best, evenly spaced: not the prettiest ones."""
    order = np.argsort(np.nan_to_num(_case_dice(control)))
    places = np.linspace(0, len(order) - 1, min(SHOWN_CASES, len(order))).round().astype(int)
    return [control.cases[order[place]] for place in places]


def _overlay(cache: Cache, name: str, results: Sequence[Result]) -> str:
    """One test scan with every method's prediction; the title says its Dice."""
    case, predictions = cache.case(name), {}
    for result in results:
        values = read_label(inside(result.predictions, f"{name}.nii.gz")).array
        dice = _case_dice(result)[result.cases.index(name)]
        score = f"Dice {dice:.1f} %" if math.isfinite(dice) else "Dice undefined"
        predictions[f"{result.name}: {score}"] = _indices(values, cache.manifest.label_values)
    image = np.asarray(case.image[0], dtype=np.float32)
    x, y, z = case.info["spacing"]
    return _png(figures.overlay(image, predictions, np.asarray(case.label), (x, y, z)))


def _indices(values: np.ndarray, label_values: dict[int, int]) -> np.ndarray:
    """Class indices of the label values of the user's files."""
    indices = np.zeros(values.shape, dtype=np.uint8)
    for index, value in label_values.items():
        indices[values == value] = index
    return indices


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
