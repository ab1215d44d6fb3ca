"""One self-contained page: nothing is fetched, so it can be mailed and opened anywhere.

Only where the slices of many scans are too large for one file do they lie beside it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcvd import __version__
from simcvd.colours import class_colour
from simcvd.data.cache import Cache
from simcvd.files import write_text
from simcvd.report import figures
from simcvd.report.pictures import FOLDER, data_uri, references, tidy
from simcvd.report.results import METRICS, Result, case_dice, compare_all, sentence
from simcvd.report.rounds import RoundSummary
from simcvd.report.scans import LABEL, Scan, draw_all, held_out
from simcvd.report.sprites import Sprites
from simcvd.scoring.comparison import Comparison
from simcvd.scoring.gap import Gap
from simcvd.scoring.scores import Mean
from simcvd.scoring.titles import metric_title, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the page says above its tables.

    answer: the verdict; by default, how the results stand. detail: the numbers behind it. todo:
    (what to do next, command or ""). expected: how well the model does, as far as is known. notes:
    what a reader must know of the data and the settings. scored: what the scored scans are called.
    """

    title: str
    answer: str = ""
    detail: str = ""
    todo: Sequence[tuple[str, str]] = ()
    expected: str = ""
    notes: Sequence[str] = ()
    scored: str = "test scans"


def write_page(
    out: Path,
    cache: Cache,
    results: Sequence[Result],
    words: Words,
    *,
    gaps: Sequence[Comparison] | None = None,
    rounds: Sequence[RoundSummary] = (),
    scans: Sequence[Scan] | None = None,
    order: str = "first method's Dice",
    hidden: Sequence[str] = (),
    jobs: int | None = 1,
) -> Path:
    """Write ``report.html``: the answer, the tables, every scan with outlines, the curves.

    results: the control first, or one alone. gaps: each of the others compared with the control, by
    default as single trainings. rounds: those up to this one, where there were several. scans: by
    default those that were scored. order: what they are ranked by, in words. hidden: outlines that
    are not shown at first. jobs: processes that draw. Raises CannotWrite.
    """
    control, others = results[0], results[1:]
    gaps = compare_all(control, others) if gaps is None else gaps
    scans = held_out(cache, results, words.scored.removesuffix("s")) if scans is None else scans
    drawn = draw_all(scans, jobs)
    sprites = [one for _, one in drawn if isinstance(one, Sprites)]
    pictures = [picture for one in sprites for picture in (one.image, *one.outlines.values())]
    sources = references(pictures, out / FOLDER)
    layers = _layers(sprites)
    style = _text("style.css") + _rules(drawn, len(layers), len(cache.manifest.class_names))
    script = _text("viewer.js")
    text = _template().render(
        policy=_policy(style, script),
        style=_markup(style),
        script=_markup(script),
        title=words.title,
        version=__version__,
        answer=words.answer or _standing(control, others, gaps, words.scored),
        detail=words.detail,
        todo=words.todo,
        expected=words.expected,
        notes=words.notes,
        scored=words.scored,
        contents=_contents(words, rounds, others, scans),
        arms=list(rounds[-1].dice) if rounds else [],
        rounds=[_round(number, one) for number, one in enumerate(rounds, start=1)],
        curve=_rounds_figure(rounds, results) if rounds else None,
        metrics={metric: metric_title(metric) for metric in METRICS},
        columns=[_column(result, gap) for result, gap in zip(results, (None, *gaps), strict=True)],
        hardest=any(gap.hardest for gap in gaps),
        decided=any(gap.verdict != "no verdict" for gap in gaps),
        paired=_paired(control, others, gaps) if others else None,
        curves=_curves(results),
        order=order,
        classes=[(n, class_colour(k)) for k, n in cache.manifest.class_names.items() if k],
        layers=[(layer, layer not in hidden) for layer in layers],
        numbers={layer: number for number, layer in enumerate(layers)},
        sources=sources,
        scans=[_card(scan, one) for scan, one in drawn],
    )
    write_text(out / PAGE, text)
    tidy(out / FOLDER, sources.values())
    return out / PAGE


def _template() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("simcvd.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("template.html")


def _text(name: str) -> str:
    return files("simcvd.report").joinpath(name).read_text(encoding="utf-8")


def _markup(own: str) -> Any:
    """Our own text, which holds nothing that another chose, as it is."""
    from markupsafe import Markup

    return Markup(own)


def _policy(style: str, script: str) -> str:
    """Nothing may be fetched or run but what this page was written with."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data: file: 'self'; style-src 'sha256-{style_hash}'; "
        f"script-src 'sha256-{script_hash}'; base-uri 'none'; form-action 'none'"
    )


def _rules(drawn: Sequence[tuple[Scan, Sprites | str]], layers: int, classes: int) -> str:
    """Style that depends on the scans: a policy without inline style allows it only here."""
    views = [
        f"#scan-{number} {{ --columns: {one.columns}; --rows: {one.rows}; --ratio: {one.ratio:.4f};"
        f" --column: {one.first % one.columns}; --row: {one.first // one.columns}; }}"
        for number, (_, one) in enumerate(drawn, start=1)
        if isinstance(one, Sprites)
    ]
    hides = [f".without-{layer} .layer-{layer} {{ display: none; }}" for layer in range(layers)]
    swatches = [f".class-{k} {{ background: {class_colour(k)}; }}" for k in range(1, classes)]
    return "\n".join([*views, *hides, *swatches, ""])


def _layers(sprites: Sequence[Sprites]) -> list[str]:
    """The names of all layers, the label's first."""
    names = dict.fromkeys(layer for one in sprites for layer in one.outlines)
    return sorted(names, key=lambda layer: layer != LABEL)


def _contents(
    words: Words, rounds: Sequence[object], others: Sequence[object], scans: Sequence[object]
) -> list[tuple[str, str]]:
    """Sections of the page by their anchors."""
    parts = {
        ("next", "What to do next"): words.todo,
        ("scores", "Scores"): True,
        ("rounds", "Rounds"): rounds,
        ("scans", f"Scans ({len(scans)})"): scans,
        ("paired", "Scan by scan"): others,
        ("training", "Training"): True,
    }
    return [part for part, there in parts.items() if there]


def _card(scan: Scan, drawn: Sprites | str) -> dict[str, Any]:
    """One scan in the list."""
    card = {"name": scan.name, "what": scan.what, "flags": scan.flags, "facts": scan.facts}
    if isinstance(drawn, str):
        return {**card, "drawn": None, "why": drawn}
    said = "; ".join(f"{fact} {value}" for fact, value in scan.facts)
    alt = f"{scan.name}, {drawn.plane} slices with outlines of {', '.join(drawn.outlines)}"
    edges = list(zip(("left", "right", "top", "bottom"), drawn.edges, strict=True))
    return {**card, "drawn": drawn, "edges": edges, "alt": f"{alt}. {said}" if said else alt}


def _standing(
    control: Result, others: Sequence[Result], gaps: Sequence[Comparison], scored: str
) -> str:
    """How the others stand against the control; of one alone its score."""
    if others:
        return sentence(control, others, gaps)
    value, interval = _cell("dice", control.summary.means["dice"])
    within = f" ({interval})" if interval else ""
    return f"{control.name}: mean Dice {value}{within} over {len(control.cases)} {scored}."


def _round(number: int, one: RoundSummary) -> dict[str, Any]:
    dice = {arm: f"{100 * value:.1f}" for arm, value in one.dice.items() if math.isfinite(value)}
    return {"number": number, "labeled": one.labeled, "dice": dice, "minutes": f"{one.minutes:.1f}"}


def _rounds_figure(rounds: Sequence[RoundSummary], results: Sequence[Result]) -> dict[str, str]:
    names = [result.name for result in results]
    dice = {
        name: [100 * one.dice.get(arm, math.nan) for one in rounds]
        for arm, name in zip(rounds[-1].dice, names, strict=False)
    }
    first, last = rounds[0], rounds[-1]
    said = "; ".join(f"{name} {d[0]:.1f} to {d[-1]:.1f} %" for name, d in dice.items())
    alt = f"Dice from round 1, {first.labeled} labels, to now, {last.labeled} labels: {said}"
    return _figure(figures.rounds([one.labeled for one in rounds], dice), alt)


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


def _paired(
    control: Result, others: Sequence[Result], compared: Sequence[Comparison]
) -> dict[str, str]:
    base = case_dice(control)
    dice = {result.name: case_dice(result) for result in others}
    gaps = {result.name: c.gap for result, c in zip(others, compared, strict=True)}
    said = [
        f"{name} is better on {int((values > base).sum())} of {len(base)} scans, "
        f"{_signed(gaps[name])[0]} points on average"
        for name, values in dice.items()
    ]
    alt = f"Dice of each scan minus that of {control.name}: {'; '.join(said)}"
    return _figure(figures.paired(control.cases, base, dice, gaps), alt)


def _curves(results: Sequence[Result]) -> dict[str, str]:
    logs: Mapping[str, Any] = {result.name: result.log for result in results}
    said = []
    for name, log in logs.items():
        loss = [row["loss"] for row in log if "loss" in row]
        said += [f"the loss of {name} goes from {loss[0]:.3g} to {loss[-1]:.3g}"] if loss else []
    alt = f"Loss terms against iterations: {'; '.join(said) or 'nothing was logged'}"
    return _figure(figures.curves(logs), alt)


def _figure(figure: Figure, alt: str) -> dict[str, str]:
    """As SVG, sharp at any size; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "simcvd"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return {"source": data_uri(buffer.getvalue(), "image/svg+xml"), "alt": alt}
