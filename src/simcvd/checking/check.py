"""`simcvd check`: every file of a data set read once, and all its problems in one report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from simcvd.checking.audit import FEWEST, looks_cropped, margins_of
from simcvd.checking.compare import compare
from simcvd.checking.facts import CaseFacts, Question, examine
from simcvd.checking.findings import CheckReport, Finding, Kind, Severity
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import Source
from simcvd.workers.processes import in_parallel


def check(
    source: Path | str,
    *,
    labels: Path | str | None = None,
    resample_labels: bool = False,
    names: str | None = None,
    splits: bool = False,
    patient: str | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> CheckReport:
    """Read all scans and labels of `source` and report everything that is wrong with them.

    labels: folder of label maps when `source` is a plain folder of scans. resample_labels: as
    `prepare` takes it. names: a regular expression that finds a scan's name in the paths of its
    files. splits: look for what makes test scores too good, too. patient: a regular expression
    over the scans' names, whose first group, or all it matches, is the patient.
    jobs: processes; None takes as many as there are processors. Never writes anything.
    Raises SimcvdError only if `source` holds no scans that can be listed, or for a pattern that
    is none or matches no name.
    """
    report, _ = check_source(
        Path(source),
        labels,
        jobs,
        quiet,
        resample_labels=resample_labels,
        names=names,
        splits=splits,
        patient=patient,
    )
    return report


def check_source(
    source: Path,
    labels: Path | str | None,
    jobs: int | None,
    quiet: bool,
    *,
    resample_labels: bool = False,
    names: str | None = None,
    splits: bool = False,
    patient: str | None = None,
) -> tuple[CheckReport, Source]:
    """As `check`, with the data set that was recognised, for `mend`."""
    start = time.perf_counter()
    found = recognise(
        source,
        labels,
        resample_labels=resample_labels,
        names=names,
        patient=patient,
        or_scans=True,
    )
    facts = examine_all(found, jobs, "checking", quiet)
    leaks = looks_cropped(margins_of(f.label.ends for f in facts if f.label)) if splits else []
    notes = _not_looked_at(found, facts, patient) if splits else []
    seconds = time.perf_counter() - start
    return report_of(source, found, facts, seconds, more=leaks, notes=notes), found


def report_of(
    source: Path,
    found: Source,
    facts: Sequence[CaseFacts],
    seconds: float,
    *,
    more: Sequence[Finding] = (),
    notes: Sequence[str] = (),
) -> CheckReport:
    """The report on a data set whose scans have been read already, in so many seconds."""
    findings = [*_layout(found), *(f for one in facts for f in one.findings)]
    findings += [*compare(facts, found.train, found.test), *more]
    return CheckReport(
        source=str(source),
        description=found.description,
        scans=len(found.cases),
        labeled=sum(case.label is not None for case in found.cases.values()),
        seconds=seconds,
        findings=tuple(sorted(findings, key=lambda f: (f.severity, f.scan))),
        notes=tuple(notes),
        files=found.files,
    )


def _not_looked_at(found: Source, facts: Sequence[CaseFacts], patient: str | None) -> list[str]:
    notes = []
    if not found.test:
        notes.append("test scans: there are none, so no split could leak.")
    elif patient is None and all(case.patient == name for name, case in found.cases.items()):
        notes.append("patients in both splits: not looked at; give --patient-pattern.")
    if sum(bool(one.label and one.label.ends) for one in facts) < FEWEST:
        notes.append(f"crops by the label: not judged, which needs {FEWEST} labelled scans.")
    return notes


def examine_all(found: Source, jobs: int | None, verb: str, quiet: bool) -> list[CaseFacts]:
    """The facts of every scan, sorted by name; each file is read once."""
    declared = tuple(found.labels) if found.labels else None
    channels = len(found.channel_names)
    questions = [
        Question(case=case, channels=channels, declared=declared) for case in found.cases.values()
    ]
    results: list[CaseFacts] = list(in_parallel(examine, questions, jobs, verb, quiet))
    return sorted(results, key=lambda one: one.case.name)


def _layout(found: Source) -> list[Finding]:
    remarks: list[tuple[Severity, Kind, str]] = [
        ("error", "patient in both" if problem in found.leaks else "layout", problem)
        for problem in found.problems
    ]
    remarks += [("warning", "layout", note) for note in found.notes]
    return [
        Finding(severity=severity, kind=kind, message=message)
        for severity, kind, message in remarks
    ]
