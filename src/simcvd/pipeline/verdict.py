"""What the comparison says, in plain words: the verdict, the numbers behind it, what to do next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from simcvd.pipeline.compare import differences
from simcvd.pipeline.presets import Folds, Preset
from simcvd.report.results import Result
from simcvd.scoring.comparison import Comparison
from simcvd.scoring.scores import LEVEL
from simcvd.scoring.words import assumed_words, gap_words
from simcvd.wording import counted

QUESTION = "Did the unlabelled scans help?"


def verdict(results: Sequence[Result], folds: Folds) -> str:
    """The answer to `QUESTION` for somebody who knows no statistics: of control and method."""
    found = differences(results)[0]
    gain = 100 * found.gap.mean
    if found.verdict == "inconclusive":
        return (
            f"Inconclusive: with {counted(folds.labeled, 'labelled scan')} only a difference of "
            f"about {100 * found.detectable:.1f} points or more could have been detected. More "
            "labels would lower that."
        )
    if found.verdict == "no verdict":
        return (
            f"Nothing can be said: {counted(folds.count, 'fold')}, and chance has no measure. "
            f"{_seen(gain)}"
        )
    helped = "They helped" if found.verdict == "better" else "They did harm"
    return f"{helped}: Dice is {abs(gain):.1f} points {_way(gain)} with them, beyond chance."


def _seen(gain: float) -> str:
    if math.isnan(gain):
        return "Dice is undefined."
    return f"Dice was {abs(gain):.1f} points {_way(gain)} with them."


def _way(gain: float) -> str:
    return "higher" if gain >= 0 else "lower"


def answer(results: Sequence[Result]) -> str:
    """The same with its numbers: by how much, how sure."""
    control, other = results[:2]
    found = differences(results)[0]
    return (
        f"{_begins(found)}: mean Dice {_dice(other)} with them ({other.name}) and {_dice(control)} "
        f"without ({control.name}), {gap_words(found, what='points', scale=100)}."
        f"{'' if found.verdict == 'no verdict' else f' {assumed_words(found)}'}"
    )


def _begins(found: Comparison) -> str:
    return {
        "better": "The unlabelled scans helped",
        "worse": "The unlabelled scans did harm",
        "inconclusive": "Whether the unlabelled scans helped is inconclusive",
        "no verdict": "Whether the unlabelled scans helped is open",
    }[found.verdict]


def _dice(result: Result) -> str:
    mean = result.summary.means["dice"].mean
    return "undefined" if math.isnan(mean) else f"{100 * mean:.1f} %"


def expected(chosen: Result, folds: Folds) -> str:
    """How well the final model may be expected to do, from trainings of its kind."""
    dice = chosen.summary.means["dice"]
    if math.isnan(dice.mean):
        return "How well the final model does is not known: no held-out scan has a defined Dice."
    known = math.isfinite(dice.low)
    ends = f"{100 * dice.low:.1f} to {100 * dice.high:.1f}"
    within = f" ({LEVEL} % interval over scans {ends})" if known else ""
    return (
        f"Expected of the final model on scans like these: mean Dice {100 * dice.mean:.1f} %"
        f"{within}. That is what {chosen.name} reached on the {folds.compared} labelled scans that "
        f"cross-validation held out, trained on {folds.trained_on} of the {folds.labeled} labels; "
        "the final model has all of them."
    )


def next_steps(work: Path, preset: Preset, folds: Folds) -> list[tuple[str, str]]:
    """What to do with the result: (in words, the command)."""
    place = quote(str(work))
    few = folds.count < 3 and preset.name != "full"
    surer = (
        f"For a firmer answer: {counted(folds.count, 'fold')} cannot show how much trainings vary. "
        "With --preset standard, into another folder, more are compared; --dry-run says how long "
        "it takes.",
        "",
    )
    return [
        (
            "Look at the scans, worst first, and correct or accept what was found:",
            f"simcvd review {place}",
        ),
        ("Label a few more; this names those least like the labelled:", f"simcvd next {place}"),
        ("Learn again from what was corrected or labelled since:", f"simcvd run --out {place}"),
        *([surer] if few else []),
        ("Use the model on other scans:", f"simcvd predict {place} SCANS --out DIR"),
    ]
