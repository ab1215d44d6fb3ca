"""What `simcvd run` does before it prepares and trains: look, plan, say what it will do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console

from simcvd.checking.check import examine_all, report_of
from simcvd.checking.facts import CaseFacts
from simcvd.checking.findings import CheckReport, show
from simcvd.files import read_object, write_json
from simcvd.inference.model import WORK_RECORD
from simcvd.layouts.records import Source
from simcvd.pipeline.compare import at_once
from simcvd.pipeline.estimate import Estimate, estimate, fitted, with_equal_time
from simcvd.pipeline.presets import QUICK, STANDARD, Folds, Preset, deal, divide
from simcvd.pipeline.refuse import refuse_full_disk
from simcvd.pipeline.request import ASKED, Request
from simcvd.pipeline.rounds import Round, begin, changes, current
from simcvd.planning import Plan, plan_from, read_plan, write_plan
from simcvd.planning.memory import SHARE, free_bytes
from simcvd.types import SimcvdError
from simcvd.wording import duration, few


@dataclass(frozen=True, kw_only=True)
class Looked:
    """All scans read once, and what was found."""

    facts: list[CaseFacts]
    report: CheckReport


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What a run works on. changed: in words, where it begins a new round; else empty."""

    found: Source
    folds: Folds
    round: Round
    changed: list[str] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Where the weights of a later round come from, for the report."""
        start = self.round.start
        if start is None:
            return f"Round {self.round.number}, from fresh weights."
        return (
            f"Round {self.round.number}: trainings started from the weights of round {start}, "
            "those of a fold from the control of the same fold, so that no scan is held out from "
            "weights that have seen its label."
        )

    @property
    def planned_steps(self) -> str:
        """What the round will do."""
        former = self.round.number - 1
        weights = (
            "All start from fresh weights"
            if self.round.start is None
            else f"Trainings start from the weights of round {self.round.start} and are shorter, a "
            "base by three quarters and what follows by two thirds"
        )
        return (
            f"The result of round {former} goes to rounds/{former}. {weights}; then the same "
            "comparison, final training and segmentations."
        )


def folds_of(asked: Request, found: Source) -> Folds:
    """How the labelled scans are divided. Raises SimcvdError where nothing can be compared."""
    have = [found.cases[name].label is not None for name in found.train if name in found.cases]
    if not any(have):
        raise SimcvdError(
            f"{asked.labels or asked.images}: holds no label of a training scan, and at least 2 "
            "are needed: one to train on, one to see how good the training was. Add labels, each "
            "named as its scan, or give their folder with --labels."
        )
    folds = divide(sum(have), asked.preset)
    if all(have):
        raise SimcvdError(
            f"all {len(have)} training scans have a label, so that there is nothing for a "
            "semi-supervised method to learn from. Add scans without one, or use `simcvd prepare` "
            "and `simcvd train --method supervised`."
        )
    return deal(found, asked.preset) if asked.by_patient else folds


def begun_of(asked: Request, console: Console) -> Begun:
    """The data set and how it is divided, both sound enough to begin in the folder asked for.

    Faults of the files, which may be why labels are missing, are told before that they are.
    """
    found = asked.recognised()
    try:
        folds = folds_of(asked, found)
    except SimcvdError:
        for note in found.notes:
            console.print(f"note: {note}", markup=False)
        if found.problems:
            look(asked, found, console)
        raise
    asked.refuse_folder()
    if (plan := asked.work / "plan.toml").exists():
        read_plan(plan)  # one that was edited wrongly is told before all scans are read
    here = current(asked.work)
    changed = changes(asked.work, found)
    now, folds = (here.next(fresh=asked.fresh) if changed else here).folds(found, folds)
    _refuse_bare(found, folds)
    return Begun(found=found, folds=folds, round=now, changed=changed)


def _refuse_bare(found: Source, folds: Folds) -> None:
    """Refuse folds that leave a method without an unlabelled scan."""
    for number, fold in enumerate(folds.named, start=1):
        if not fold.unlabeled:
            patients = sorted({found.cases[name].patient for name in fold.left_out})
            raise SimcvdError(
                f"fold {number} of {folds.count} holds out {few(patients)}, of whom all scans "
                "without a label are, so that a method has none to learn from. Add unlabelled "
                "scans of other patients."
            )


def looked_at(asked: Request, begun: Begun, console: Console) -> Looked | None:
    """Check the scans, unless these very files were found good and there is a plan for them."""
    checked, path = asked.work / "check.json", asked.work / "plan.toml"
    known = path.exists() and checked.exists() and not begun.changed
    if known and read_object(checked, "Remove it.").get("stat") == asked.files():
        return None
    looked = look(asked, begun.found, console)
    refuse_full_disk(asked.work, looked.facts)
    return looked


def planned(asked: Request, begun: Begun, looked: Looked | None, console: Console) -> Plan:
    """The plan, made if there is none; what stands in a new round's way is moved."""
    path = asked.work / "plan.toml"
    if looked is None:
        return begun.round.planned(read_plan(path))
    say_changes(begun, console)
    if begun.changed:
        begin(begun.round)
    # Only now: a refused folder of scans leaves nothing that stands in the way of a mended one.
    write_json(asked.work / WORK_RECORD, ASKED.content(asked.record()))
    write_json(asked.work / "check.json", {**looked.report.to_json(), "stat": asked.files()})
    if path.exists():
        console.print(f"the plan is the one of {path}", markup=False)
        plan = read_plan(path)
        if asked.hours is not None:
            console.print("note: --hours changes no plan that is there; edit or remove it")
    else:
        plan = new_plan(asked, begun, looked)
        write_plan(plan, path)
        console.print(f"the plan: {path}", markup=False)
    plan = begun.round.planned(plan)
    for warning in plan.warnings:
        console.print(f"warning: {warning}", markup=False)
    say_cost(asked, plan, begun, looked, console)
    return plan


def say_changes(begun: Begun, console: Console) -> None:
    if begun.changed:
        said = "; ".join(begun.changed)
        console.print(f"[bold]Round {begun.round.number}[/bold]")
        console.print(f"{said}. {begun.planned_steps}", markup=False)


def look(asked: Request, found: Source, console: Console) -> Looked:
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
            f"to be fixed before training: the errors listed above, {report.errors} in all."
            f"{advice if mends else ''}"
        )
    console.print("[bold]Planning[/bold]: timing a few training steps")
    return Looked(facts=facts, report=report)


def new_plan(asked: Request, begun: Begun, looked: Looked) -> Plan:
    """The preset's plan for the scans that were read, with fewer steps where time is short."""
    plan = _of_preset(asked, asked.preset, begun, looked)
    if asked.hours is None:
        return plan
    return fitted(plan, _expected(asked, plan, begun.folds, looked), asked.hours)


def _of_preset(asked: Request, preset: Preset, begun: Begun, looked: Looked) -> Plan:
    memory = preset.memory
    free = int(SHARE * free_bytes())
    plan = plan_from(begun.found, looked.facts, free if memory is None else min(memory, free))
    plan = preset.planned(plan)
    return with_equal_time(plan, asked.method, at_once(asked.jobs, begun.folds, plan))


def say_cost(asked: Request, plan: Plan, begun: Begun, looked: Looked, console: Console) -> None:
    """What the run will take."""
    expected = _expected(asked, plan, begun.folds, looked)
    console.print(expected.sentence())
    if asked.hours is not None:
        why = plan.reasons.get("iterations", "")
        console.print(f"For {asked.hours:g} h: {plan.iterations} iterations. {why}")


def say_more(asked: Request, begun: Begun, looked: Looked, console: Console) -> None:
    """Where little is planned, what more would take: timing its large network takes a while."""
    if asked.preset is QUICK and begun.round.number == 1:
        more = _of_preset(asked, STANDARD, begun, looked)
        takes = duration(_expected(asked, more, deal(begun.found, STANDARD), looked).total)
        console.print(f"--preset standard, which trains longer, would take about {takes}.")


def _expected(asked: Request, plan: Plan, folds: Folds, looked: Looked) -> Estimate:
    processes = at_once(asked.jobs, folds, plan)
    reading = looked.report.seconds
    return estimate(plan, asked.method, folds, looked.facts, reading, processes)
