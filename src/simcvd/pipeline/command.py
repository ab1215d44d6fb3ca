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
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from simcvd.checking.check import examine_all, report_of
from simcvd.checking.facts import CaseFacts
from simcvd.checking.findings import CheckReport, show
from simcvd.data.cache import read_json, write_json
from simcvd.data.prepare import prepare
from simcvd.engine.loop import BASE
from simcvd.engine.settings import differences as changes
from simcvd.files import stats_of
from simcvd.layouts.lists import visible
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import Source
from simcvd.methods.base import find
from simcvd.pipeline.compare import Arms, answer, best, cross_validate, differences
from simcvd.pipeline.estimate import estimate, with_equal_time
from simcvd.pipeline.presets import PRESETS, Folds, Preset, PresetName, divide
from simcvd.pipeline.refuse import refuse_full_disk, refuse_other_scans
from simcvd.pipeline.segment import jobs_of, segment_all
from simcvd.planning import Plan, plan_from, read_plan, write_plan
from simcvd.planning.memory import SHARE, free_bytes
from simcvd.planning.text import as_toml
from simcvd.report.html import write_page
from simcvd.report.results import Result
from simcvd.types import SimcvdError
from simcvd.wording import counted, few

METHOD = "cutmix"
FIRST_METHOD = "simcvd"  # of folders that do not name one


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for. labels: None where the layout of ``images`` has them."""

    images: Path
    labels: Path | None
    work: Path
    preset: Preset
    method: str
    resample_labels: bool = False
    jobs: int | None = None

    @classmethod
    def of(
        cls,
        images: Path | str,
        work: Path | str,
        labels: Path | str | None,
        preset: str,
        method: str | None,
        resample_labels: bool,
        jobs: int | None,
    ) -> Request:
        """From what `run` is given; without a method, what the folder was begun with, or `METHOD`.

        Raises SimcvdError for an unknown preset or method, and for one without unlabelled scans.
        """
        path = Path(work) / "run.json"
        if method is None:
            method = read_json(path).get("method", FIRST_METHOD) if path.exists() else METHOD
        if not find(method).uses_unlabeled:
            raise SimcvdError(f"{method} is the control; give a method that uses unlabelled scans")
        if preset not in PRESETS:
            raise SimcvdError(f"there is no preset {preset!r}; choose {', '.join(PRESETS)}")
        return cls(
            images=Path(images),
            labels=Path(labels) if labels else None,
            work=Path(work),
            preset=PRESETS[preset],
            method=method,
            resample_labels=resample_labels,
            jobs=jobs,
        )

    @property
    def folders(self) -> list[Path]:
        """Where scans and labels lie."""
        return [self.images, *([self.labels] if self.labels else [])]

    def record(self) -> dict[str, str | bool | None]:
        """What must be the same when the command is typed again."""
        labels = str(self.labels.resolve()) if self.labels else None
        return {
            "images": str(self.images.resolve()),
            "labels": labels,
            "preset": self.preset.name,
            "method": self.method,
            "resample_labels": self.resample_labels,
        }


@dataclass(frozen=True, kw_only=True)
class Looked:
    """All scans read once, and what was found."""

    facts: list[CaseFacts]
    report: CheckReport


def run(
    images: Path | str,
    out: Path | str,
    *,
    labels: Path | str | None = None,
    preset: PresetName = "standard",
    method: str | None = None,
    resample_labels: bool = False,
    jobs: int | None = None,
    console: Console | None = None,
) -> str:
    """Check, plan, prepare, compare, train and segment in ``out``; returns the answer.

    images: a folder of scans, or a data set in any layout that `simcvd prepare` takes. labels: the
    folder of label maps; a scan without one is unlabelled. preset: one of `PRESETS`. method: which
    one learns from the unlabelled scans, `METHOD` by default.
    resample_labels: as `prepare` takes it. The same call goes on where it stopped. Raises
    SimcvdError for anything the user can mend.
    """
    asked = Request.of(images, out, labels, preset, method, resample_labels, jobs)
    work = asked.work
    console = console or Console(soft_wrap=True, highlight=False)
    found, folds = _begun(asked, console)
    plan = _planned(asked, found, folds, console)
    for note in jobs_of(list(found.cases.values()), work / "predictions")[1]:
        console.print(f"note: {note}", markup=False)
    console.print(folds.sentence())
    console.print("[bold]Preparing[/bold]")
    chosen = plan.prepare_arguments()
    cache = prepare(
        images,
        work / "cache",
        labels=labels,
        resample_labels=resample_labels,
        jobs=jobs,
        **chosen,
    )
    arms = Arms(cache=cache, plan=plan, method=asked.method)
    results = _compared(asked, arms, folds, console)
    chosen_arm, said = arms.names[best(results)], answer(results)
    write_page(
        work,
        cache,
        results,
        title="Did the unlabelled scans help?",
        notes=_notes(asked, found, arms, folds, chosen_arm),
        answer=said,
        gaps=differences(results),
        scored="held-out labelled scans",
    )
    _finish(asked, found, arms, chosen_arm, folds, console)
    console.print(f"[bold]{said}[/bold]")
    places = f"the report: {work / 'report.html'}\nthe segmentations: {work / 'predictions'}"
    console.print(places, markup=False)
    return said


def dry_run(
    images: Path | str,
    out: Path | str,
    *,
    labels: Path | str | None = None,
    preset: PresetName = "standard",
    method: str | None = None,
    resample_labels: bool = False,
    jobs: int | None = None,
    console: Console | None = None,
) -> None:
    """Print the plan and what a run will take; write nothing. Arguments as of `run`."""
    asked = Request.of(images, out, labels, preset, method, resample_labels, jobs)
    console = console or Console(soft_wrap=True, highlight=False)
    found, folds = _begun(asked, console)
    looked = _look(asked, found, console)
    path = asked.work / "plan.toml"
    plan = read_plan(path) if path.exists() else _plan(asked, found, looked)
    console.print(as_toml(plan), markup=False)
    console.print(folds.sentence())
    _say_cost(asked, plan, folds, looked, console)
    console.print("Nothing was written.")


def folds_of(found: Source, preset: Preset) -> Folds:
    """How the labelled scans are divided. Raises SimcvdError where nothing can be compared."""
    have = [found.cases[name].label is not None for name in found.train if name in found.cases]
    folds = divide(sum(have), preset)
    if all(have):
        raise SimcvdError(
            f"all {len(have)} training scans have a label, so that there is nothing for a "
            "semi-supervised method to learn from. Add scans without one, or use `simcvd prepare` "
            "and `simcvd train --method supervised`."
        )
    return folds


def _begun(asked: Request, console: Console) -> tuple[Source, Folds]:
    """The data set and how it is divided, both sound enough to begin in the folder asked for.

    Faults of the files, which may be why labels are missing, are told before that they are.
    """
    found = recognise(asked.images, asked.labels, resample_labels=asked.resample_labels)
    try:
        folds = folds_of(found, asked.preset)
    except SimcvdError:
        for note in found.notes:
            console.print(f"note: {note}", markup=False)
        if found.problems:
            _look(asked, found, console)
        raise
    _refuse_folder(asked, found)
    return found, folds


def _refuse_folder(asked: Request, found: Source) -> None:
    """Refuse a folder that was begun with something else, or holds something else."""
    for folder in asked.folders:
        if asked.work.resolve().is_relative_to(folder.resolve()):
            raise SimcvdError(
                f"{asked.work} lies in {folder}, where its segmentations would be taken for scans; "
                "give an --out elsewhere"
            )
    path = asked.work / "run.json"
    if path.exists():
        # Later choices, and what was done before there were any.
        begun = {"resample_labels": False, "method": FIRST_METHOD, **read_json(path)}
        if changed := changes(begun, asked.record()):
            raise SimcvdError(
                f"{asked.work} was begun with something else:\n  "
                + "\n  ".join(changed)
                + "\nType the same command to go on with it, or give another --out"
            )
        refuse_other_scans(asked.work, asked.images, found)
        return
    there = visible(asked.work.iterdir()) if asked.work.is_dir() else []
    if others := [path.name for path in there if path.name != "plan.toml"]:
        raise SimcvdError(
            f"{asked.work} holds other files ({few(others)}) and no run; give another --out"
        )


def _planned(asked: Request, found: Source, folds: Folds, console: Console) -> Plan:
    """Check the scans unless these very files were found good; the plan, made if there is none."""
    checked, path = asked.work / "check.json", asked.work / "plan.toml"
    files = _fingerprint(asked)
    if path.exists() and checked.exists() and read_json(checked).get("files") == files:
        return read_plan(path)
    looked = _look(asked, found, console)
    refuse_full_disk(asked.work, looked.facts)
    # Only now: a refused folder of scans leaves nothing that stands in the way of a mended one.
    write_json(asked.work / "run.json", asked.record())
    write_json(checked, {**looked.report.to_json(), "files": files})
    if path.exists():
        console.print(f"the plan is the one of {path}", markup=False)
        plan = read_plan(path)
    else:
        plan = _plan(asked, found, looked)
        write_plan(plan, path)
        console.print(f"the plan: {path}", markup=False)
    for warning in plan.warnings:
        console.print(f"warning: {warning}", markup=False)
    _say_cost(asked, plan, folds, looked, console)
    return plan


def _look(asked: Request, found: Source, console: Console) -> Looked:
    """Read every scan once and show what is wrong. Raises SimcvdError for what must be mended."""
    console.print("[bold]Checking[/bold]")
    started = time.perf_counter()
    facts = examine_all(found, asked.jobs, "checking", quiet=False)
    report = report_of(asked.images, found, facts, time.perf_counter() - started)
    show(report, console)
    if report.errors:
        labels = f" --labels {asked.labels}" if asked.labels else ""
        mends = [f for f in report.findings if f.severity == "error" and f.fixable]
        advice = (
            f" `simcvd check {asked.images}{labels} --fix FOLDER` mends {len(mends)} of them "
            "without guessing, into copies."
        )
        raise SimcvdError(
            f"to be mended before training: the errors listed above, {report.errors} in all."
            f"{advice if mends else ''}"
        )
    return Looked(facts=facts, report=report)


def _plan(asked: Request, found: Source, looked: Looked) -> Plan:
    """The preset's plan for the scans that were read."""
    memory = asked.preset.memory
    free = int(SHARE * free_bytes())
    plan = plan_from(found, looked.facts, free if memory is None else min(memory, free))
    return with_equal_time(asked.preset.planned(plan), asked.method)


def _say_cost(asked: Request, plan: Plan, folds: Folds, looked: Looked, console: Console) -> None:
    expected = estimate(plan, asked.method, folds, looked.facts, looked.report.seconds)
    console.print(expected.sentence())


def _fingerprint(asked: Request) -> str:
    """Changes when any file in the folders is touched, swapped or renamed."""
    return stats_of(sorted(p for f in asked.folders for p in f.rglob("*") if p.is_file()))


def _compared(asked: Request, arms: Arms, folds: Folds, console: Console) -> list[Result]:
    """Every arm, trained and scored on the same folds."""
    console.print(f"[bold]Comparing[/bold] {', '.join(map(arms.title, arms.names))}")
    return cross_validate(arms, asked.work, folds, lambda text: console.print(text, markup=False))


def _finish(
    asked: Request, found: Source, arms: Arms, arm: str, folds: Folds, console: Console
) -> None:
    """Train the best arm on all labelled scans and segment every scan with it."""
    console.print(f"[bold]Final training[/bold]: {arms.title(arm)} on all {folds.labeled} labelled")
    model = asked.work / "model"
    folders = {name: asked.work / "final" / name for name in (BASE, *arms.names)}
    arms.train({**folders, arm: model}, folds.labeled, wanted=[arm])
    names = dict.fromkeys((*found.train, *found.test))
    console.print(f"[bold]Segmenting[/bold] {counted(len(names), 'scan')}")
    cases = [found.cases[name] for name in names]
    segment_all(model, cases, asked.work / "predictions", console)


def _notes(asked: Request, found: Source, arms: Arms, folds: Folds, arm: str) -> list[str]:
    unlabeled = sum(found.cases[name].label is None for name in found.train)
    rest, plan = folds.labeled - folds.compared, arms.plan
    never = f" {rest} of the labelled scans were in every training." if rest else ""
    method = arms.title(arms.method)
    return [
        f"{folds.sentence()}{never} {unlabeled} scans without a label were added for {method}.",
        f"{_budget(plan, method)} One seed each; preset {asked.preset.name}, {plan.recipe} recipe.",
        f"The final model is {arms.title(arm)}, whose mean was higher, trained again on all "
        f"{folds.labeled} labelled scans. It has seen them all, so its own score is not known.",
        "Training curves are those of the first fold. The hardest scans are not shown apart: each "
        "was held out from one training of the control alone, whose bad luck looks like a "
        "hard scan.",
        *plan.warnings,
    ]


def _budget(plan: Plan, method: str) -> str:
    """What each training is given, in words."""
    if not plan.base:
        return f"Each training: {plan.iterations} iterations."
    return (
        f"{plan.base} supervised iterations, from whose weights {method} goes on for "
        f"{plan.iterations} and the control for {plan.control_iterations or plan.iterations}, "
        "which take the same time."
    )
