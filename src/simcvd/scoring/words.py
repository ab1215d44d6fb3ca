"""A comparison in plain words."""

from __future__ import annotations

import math

from simcvd.scoring.comparison import SHARE, Comparison
from simcvd.scoring.gap import POWER, Gap, mean_of_defined
from simcvd.scoring.record import Report
from simcvd.scoring.scores import LEVEL, summarise
from simcvd.wording import counted


def sentence(name: str, control: str, c: Comparison, *, what: str, scale: float = 1.0) -> str:
    """Who is better, and how sure that is. what: the metric; scale: 100 for percent points."""
    begins = {
        "better": f"{name} is better than {control}",
        "worse": f"{name} is worse than {control}",
        "inconclusive": f"{name} against {control} is inconclusive",
        "no verdict": f"{name} against {control}",
    }[c.verdict]
    hardest = f". {hardest_words(c.hardest, scale)}" if c.hardest else ""
    return f"{begins}: {gap_words(c, what=what, scale=scale)}{hardest}."


def gap_words(c: Comparison, *, what: str, scale: float = 1.0) -> str:
    """The difference, its interval, p, and what could have been seen or why nothing could."""
    left_out = f", {c.left_out} left out" if c.left_out else ""
    over = f"over {counted(c.gap.scans, 'scan')}{left_out} and {_trainings(c)}"
    mean = f"{scale * c.gap.mean:+.2f} {what}"
    if c.verdict == "no verdict":
        return f"{mean} {over}; {_why_none(c)}"
    corrected = f" after Holm for {counted(c.tests, 'comparison')}" if c.tests > 1 else ""
    found = f", {LEVEL} % interval {interval_words(c.gap, scale)} {over}, p = {c.p_holm:.2g}"
    return f"{mean}{found}{corrected}{seen_words(c, what=what, scale=scale)}"


def assumed_words(c: Comparison) -> str:
    """What a comparison by cross-validation takes for granted."""
    if c.kind == "two folds":
        return (
            "Two folds cannot show how much trainings vary: it is assumed that what a training "
            "does to all scans alike has no more than "
            f"{100 * SHARE:.0f} % of the variance between the scans of a fold."
        )
    return (
        "Each fold is one training of either on scans of its own; the variation from fold to fold "
        "stands for that between seeds and between scans."
    )


def seen_words(c: Comparison, *, what: str, scale: float = 1.0) -> str:
    """What an inconclusive comparison could have seen; "" for any other."""
    if c.verdict != "inconclusive":
        return ""
    return f"; detectable with {100 * POWER:.0f} % power: {scale * c.detectable:.2f} {what}"


def hardest_words(gap: Gap, scale: float = 1.0) -> str:
    """The difference on the hardest quarter."""
    sure = "" if math.isnan(gap.error) else f" ({interval_words(gap, scale)})"
    return f"On the hardest quarter, {counted(gap.scans, 'scan')}: {scale * gap.mean:+.2f}{sure}"


def interval_words(gap: Gap, scale: float = 1.0) -> str:
    """ "+0.10 to +1.25"."""
    return f"{scale * gap.low:+.2f} to {scale * gap.high:+.2f}"


def in_short(report: Report) -> str:
    """The one line that a person wants of scores: how good, how sure, and which scan is worst."""
    dice = summarise(report.scores)[-1].means["dice"]
    if math.isnan(dice.mean):
        return "in short: Dice is undefined, as no class is in prediction or reference"
    known = math.isfinite(dice.low)
    sure = f" ({100 * dice.low:.1f} to {100 * dice.high:.1f})" if known else ""
    by_case = dict(zip(report.cases, mean_of_defined(report.table("dice"), axis=1), strict=True))
    worst = min((d, case) for case, d in by_case.items() if not math.isnan(d))
    scans = counted(len(by_case), "scan")
    return (
        f"in short: mean Dice {100 * dice.mean:.1f} %{sure} over {scans}; "
        f"worst {worst[1]}, {100 * worst[0]:.1f} %"
    )


def _why_none(c: Comparison) -> str:
    if min(c.trainings) < 2:
        return "no verdict from a single training"
    return "no verdict from a single scan"


def _trainings(c: Comparison) -> str:
    of_system, of_control = c.trainings
    if c.kind != "trainings":
        return counted(of_system, "training pair" if c.kind == "pairs" else "fold")
    if of_system != of_control:
        return f"{of_system} against {counted(of_control, 'training')}"
    return "one training each" if of_system == 1 else f"{of_system} trainings each"
