"""`simcvd run`: the stages in order. Each goes on with what lies in the folder.

::

    WORK/run.json           what was asked for
    WORK/check.json         what `simcvd check` found
    WORK/plan.toml          may be edited before the first training; kept as it is
    WORK/cache/             the prepared scans
    WORK/base/              supervised trainings that the others start from: fold_0, fold_1, ...
    WORK/supervised/        the control: fold_0, fold_1, ..., and their scores together
    WORK/METHOD/            the method that learns from the unlabelled scans too, the same
    WORK/mean/              the mean of the weights of both, the same
    WORK/report.html        the comparison
    WORK/final/             the best of them, trained on all labelled scans, with what it needs
    WORK/model/             its model
    WORK/predictions/       a segmentation of every scan
    WORK/next/              what `simcvd next` found in the unlabelled scans
    WORK/labels/            labels that were drawn in review; they win over the given ones
    WORK/logs/              what each fold printed, where they are trained side by side
    WORK/rounds/            the results of former rounds, see `simcvd.pipeline.rounds`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.inference.model import add_known
from simcvd.inference.results import TABLE
from simcvd.layouts.records import Source, SourceCase
from simcvd.pipeline.beginning import (
    Begun,
    begun_of,
    look,
    looked_at,
    new_plan,
    planned,
    say_changes,
    say_cost,
    say_more,
)
from simcvd.pipeline.compare import Arms, at_once, best, counting, cross_validate, differences
from simcvd.pipeline.known import known_of
from simcvd.pipeline.presets import PresetName
from simcvd.pipeline.request import Request
from simcvd.pipeline.rounds import working
from simcvd.pipeline.segment import jobs_of, segment_all
from simcvd.pipeline.verdict import QUESTION, answer, expected, next_steps, verdict
from simcvd.planning import Plan, read_plan
from simcvd.planning.text import as_toml
from simcvd.report.html import Words, write_page
from simcvd.report.results import Result, dice_by_class
from simcvd.report.rounds import summary_of
from simcvd.report.scans import Scan, held_out, segmented, with_numbers
from simcvd.training.loop import BASE
from simcvd.types import SimcvdError
from simcvd.wording import counted, few
from simcvd.workers.processes import on_workers


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to; as a string it is its answer.

    answer: whether the unlabelled scans helped, in words. arm: what the final model was trained
    with. dice: mean Dice in 0..1 on the held-out scans, by arm, the control's first. round: 1 for
    the first in the folder. The paths are those of the report, the final model and the folder of
    the segmentations.
    """

    answer: str
    arm: str
    dice: dict[str, float]
    round: int
    report: Path
    model: Path
    predictions: Path

    def __str__(self) -> str:
        return self.answer


def run(
    images: Path | str | None,
    out: Path | str,
    *,
    labels: Path | str | None = None,
    preset: PresetName | None = None,
    hours: float | None = None,
    method: str | None = None,
    resample_labels: bool = False,
    names: str | None = None,
    patient_pattern: str | None = None,
    workers: str | int | None = None,
    fresh: bool = False,
    console: Console | None = None,
) -> Outcome:
    """Check, plan, prepare, compare, train and segment in ``out``; returns what came of it.

    images: a folder of scans, or a data set in any layout that `simcvd prepare` takes. labels: the
    folder of label maps; a scan without one is unlabelled. preset: one of `PRESETS`, by default
    quick. hours: a new plan gets so few steps that all is done by then. method: which one learns
    from the unlabelled scans, cutmix by default. resample_labels, names, patient_pattern: as
    `prepare` takes them. What is not given is as the folder was begun; for one that was, ``images``
    may be None. The same call goes on where it stopped, or begins a new round where scans or labels
    were added, changed or removed: from the last round's weights, or, with ``fresh``, without.
    workers: as of `on_workers`; several train folds side by side, which the command does on a CPU
    unasked, and share out the scans. Raises SimcvdError for anything the user can mend.
    """
    asked = Request.of(
        out,
        images=images,
        labels=labels,
        preset=preset,
        hours=hours,
        method=method,
        resample_labels=resample_labels,
        names=names,
        patient_pattern=patient_pattern,
        workers=workers,
        fresh=fresh,
    )
    console = console or Console(soft_wrap=True, highlight=False, emoji=False)
    begun = begun_of(asked, console)
    with on_workers(workers, reads=asked.folders, writes=asked.work):
        looked = looked_at(asked, begun, console)
        with working(asked.work):
            plan = planned(asked, begun, looked, console)
            return _worked(asked, begun, plan, console)


def _worked(asked: Request, begun: Begun, plan: Plan, console: Console) -> Outcome:
    """Everything that comes after the plan."""
    work, found, folds = asked.work, begun.found, begun.folds
    for note in jobs_of(list(found.cases.values()), work / "predictions")[1]:
        console.print(f"note: {note}", markup=False)
    console.print(folds.sentence())
    console.print("[bold]Preparing[/bold]")
    cache = prepare(
        asked.images,
        work / "cache",
        labels=asked.labels,
        jobs=asked.jobs,
        **asked.reading(),
        **plan.prepare_arguments(),
    )
    _refuse_late(cache, found)
    arms = Arms(cache=cache, plan=plan, method=asked.method)
    results = _compared(asked, arms, begun, console)
    chosen = best(results)
    page = _Page(asked=asked, begun=begun, arms=arms, results=results, chosen=chosen)
    page.write([])  # what is known already, while the final training takes its time
    _finish(asked, begun, arms, results[chosen], arms.names[chosen], console)
    report = page.write(_scans(begun, arms, results, work))
    said = answer(results)
    console.print(f"[bold]{QUESTION} {verdict(results, folds)}[/bold]")
    places = (
        f"{said}\nthe report: {report}\nthe segmentations: {work / 'predictions'}\n"
        f"what to label next: simcvd next {work}"
    )
    console.print(places, markup=False)
    dice = [result.summary.means["dice"].mean for result in results]
    return Outcome(
        answer=said,
        arm=arms.names[chosen],
        dice=dict(zip(arms.names, dice, strict=True)),
        round=begun.round.number,
        report=report,
        model=work / "model",
        predictions=work / "predictions",
    )


def dry_run(
    images: Path | str | None, out: Path | str, *, console: Console | None = None, **asked_for: Any
) -> None:
    """Print the plan and what a run will take; write nothing. Arguments as of `run`."""
    asked = Request.of(out, images=images, **asked_for)
    console = console or Console(soft_wrap=True, highlight=False, emoji=False)
    begun = begun_of(asked, console)
    looked = look(asked, begun.found, console)
    path = asked.work / "plan.toml"
    plan = read_plan(path) if path.exists() else new_plan(asked, begun, looked)
    plan = begun.round.planned(plan)
    console.print(as_toml(plan), markup=False)
    console.print(begun.folds.sentence())
    say_changes(begun, console)
    say_cost(asked, plan, begun, looked, console)
    say_more(asked, begun, looked, console)
    console.print("Nothing was written.")


def _compared(asked: Request, arms: Arms, begun: Begun, console: Console) -> list[Result]:
    """Every arm, trained and scored on the same folds."""
    console.print(f"[bold]Comparing[/bold] {', '.join(map(arms.title, arms.names))}")
    former, processes = begun.round.former, at_once(asked.jobs, begun.folds, arms.plan)
    return cross_validate(arms, asked.work, begun.folds, _plainly(console), former, processes)


def _finish(
    asked: Request, begun: Begun, arms: Arms, chosen: Result, arm: str, console: Console
) -> None:
    """Train the best arm on all labelled scans and segment every scan with it."""
    labeled, former = begun.folds.labeled, begun.round.former
    console.print(f"[bold]Final training[/bold]: {arms.title(arm)} on all {labeled} labelled")
    model = asked.work / "model"
    folders = {name: asked.work / "final" / name for name in (BASE, *arms.names)}
    start = former / "model" if former else None
    titles = [arms.title(one) for one in arms.trained([arm])]
    tell = counting(_plainly(console), titles)
    arms.train({**folders, arm: model}, labeled, wanted=[arm], start=start, tell=tell)
    add_known(model, known_of(arms.cache, chosen, dice_by_class(asked.work / arm)))
    cases = _cases(begun.found)
    console.print(f"[bold]Segmenting[/bold] {counted(len(cases), 'scan')}")
    segment_all(model, cases, asked.work / "predictions", console, asked.jobs)


def _cases(found: Source) -> list[SourceCase]:
    return [found.cases[name] for name in dict.fromkeys((*found.train, *found.test))]


def _scans(begun: Begun, arms: Arms, results: Sequence[Result], work: Path) -> list[Scan]:
    """Every scan for the report: held-out ones as their trainings saw them, others as segmented."""
    held = held_out(arms.cache, results, "labelled, held out")
    names = {scan.name for scan in held}
    cases = [case for case in _cases(begun.found) if case.name not in names]
    jobs, _ = jobs_of(cases, work / "predictions")
    targets = {job.target: case for job, case in zip(jobs, cases, strict=True)}
    manifest = arms.cache.manifest
    rest = segmented(
        targets, manifest, lambda c: "labelled, learnt from" if c.label else "no label"
    )
    return with_numbers([*held, *rest], work / "predictions" / TABLE)


def _refuse_late(cache: Cache, found: Source) -> None:
    """Refuse labels that came or went after the folds were made, as they do while one draws."""
    then = {name for name, case in found.cases.items() if case.label is not None}
    now = {name for name, entry in cache.manifest.cases.items() if entry.has_label}
    if other := sorted(then.intersection(cache.manifest.cases) ^ now):
        raise SimcvdError(
            f"labels came or went while they were read: {few(other)}; re-run the same command"
        )


def _plainly(console: Console) -> Callable[[str], None]:
    """Prints text as it is, names of scans in it included."""
    return lambda text: console.print(text, markup=False)


@dataclass(frozen=True, kw_only=True)
class _Page:
    """The report, written twice: after the comparison, and with every scan at the end."""

    asked: Request
    begun: Begun
    arms: Arms
    results: Sequence[Result]
    chosen: int

    def write(self, scans: Sequence[Scan]) -> Path:
        work, number = self.asked.work, self.begun.round.number
        former = [self.begun.round.folder(one) for one in range(1, number)]
        arms, shown = self.arms, self.results[self.chosen]
        return write_page(
            work,
            arms.cache,
            self.results,
            self._words(),
            gaps=differences(self.results),
            rounds=[summary_of(one, arms.names) for one in (*former, work)] if former else (),
            scans=scans,
            order="final model's confidence",
            hidden=[result.name for result in self.results if result is not shown],
            jobs=self.asked.jobs,
        )

    def _words(self) -> Words:
        folds = self.begun.folds
        return Words(
            title=QUESTION,
            answer=verdict(self.results, folds),
            detail=answer(self.results),
            todo=next_steps(self.asked.work, self.asked.preset, folds),
            expected=expected(self.results[self.chosen], folds),
            notes=_notes(self.asked, self.begun, self.arms, self.arms.names[self.chosen]),
            scored="held-out labelled scans",
        )


def _notes(asked: Request, begun: Begun, arms: Arms, arm: str) -> list[str]:
    found, folds = begun.found, begun.folds
    unlabeled = sum(found.cases[name].label is None for name in found.train)
    rest, plan = folds.labeled - folds.compared, arms.plan
    never = f" {rest} of the labelled scans were in every training." if rest else ""
    method = arms.title(arms.method)
    return [
        f"{folds.sentence()}{never} {unlabeled} scans without a label were added for {method}.",
        f"{_budget(plan, method)} One seed each; preset {asked.preset.name}, {plan.recipe} recipe.",
        *([begun.origin] if begun.round.number > 1 else []),
        f"The final model is {arms.title(arm)}, whose mean was higher, trained again on all "
        f"{folds.labeled} labelled scans. It has seen them all, so its own score is not known.",
        "Training curves are those of the first fold. The hardest scans are not shown apart: each "
        "was held out from one training of the control alone, whose bad luck looks like a "
        "hard scan.",
        *plan.warnings,
    ]


def _budget(plan: Plan, method: str) -> str:
    """What each training is given, in words."""
    control = plan.control_iterations or plan.iterations
    if plan.base:
        return (
            f"{plan.base} supervised iterations, from whose weights {method} goes on for "
            f"{plan.iterations} and the control for {control}, which take the same time."
        )
    if control == plan.iterations:
        return f"Each training: {control} iterations."
    return f"{plan.iterations} iterations of {method}, {control} of the control."
