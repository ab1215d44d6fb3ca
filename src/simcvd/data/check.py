"""`simcvd check`: every file of a data set read once, and all its problems in one report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from simcvd.data.audit import FEWEST, looks_cropped, margins_of, shared_patients
from simcvd.data.compare import compare
from simcvd.data.facts import CaseFacts, Question, examine
from simcvd.data.findings import CheckReport, Finding, Kind, Severity
from simcvd.data.listing import Source, SourceCase
from simcvd.data.pairing import find_scans
from simcvd.data.parallel import in_parallel
from simcvd.data.sources import recognise
from simcvd.types import SimcvdError


def check(
    source: Path | str,
    *,
    labels: Path | str | None = None,
    resample_labels: bool = False,
    splits: bool = False,
    patient: str | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> CheckReport:
    """Read all scans and labels of `source` and report everything that is wrong with them.

    labels: folder of label maps when `source` is a plain folder of scans. resample_labels: as
    `prepare` takes it. splits: look for what makes test scores too good, too. patient: a regular
    expression over the scans' names, whose first group, or all it matches, is the patient; goes
    with splits. jobs: processes; None takes as many as there are processors. Never writes anything.
    Raises SimcvdError only if `source` holds no scans that can be listed, or for a pattern that
    is none or matches no name.
    """
    folder = Path(labels) if labels else None
    report, _ = check_source(
        Path(source),
        folder,
        jobs,
        quiet,
        resample_labels=resample_labels,
        splits=splits,
        patient=patient,
    )
    return report


def check_source(
    source: Path,
    labels: Path | None,
    jobs: int | None,
    quiet: bool,
    *,
    resample_labels: bool = False,
    splits: bool = False,
    patient: str | None = None,
) -> tuple[CheckReport, Source]:
    """As `check`, with the data set that was recognised, for `mend`."""
    start = time.perf_counter()
    found = _recognised(source, labels, resample_labels)
    leaks = _patients(found, patient) if splits else []  # a wrong pattern shows before hours pass
    facts = examine_all(found, jobs, "checking", quiet)
    notes: list[str] = []
    if splits:
        leaks += _crops(facts)
        notes = _not_looked_at(found, facts, patient)
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
    )


def _patients(found: Source, patient: str | None) -> list[Finding]:
    leaks = shared_patients(found.train, found.test, patient) if patient else []
    return [
        Finding(severity="error", kind="patient in both", scan="", file="", message=leak.text)
        for leak in leaks
    ]


def _crops(facts: Sequence[CaseFacts]) -> list[Finding]:
    leaks = looks_cropped(margins_of(one.label.ends for one in facts if one.label))
    return [
        Finding(severity="warning", kind="cropped by label", scan="", file="", message=leak.text)
        for leak in leaks
    ]


def _not_looked_at(found: Source, facts: Sequence[CaseFacts], patient: str | None) -> list[str]:
    notes = []
    if not found.test:
        notes.append("test scans: there are none, so no split could leak.")
    elif patient is None:
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


def _recognised(source: Path, labels: Path | None, resample_labels: bool) -> Source:
    try:
        return recognise(source, labels, resample_labels=resample_labels)
    except SimcvdError:
        # Scans in no known layout can still be looked at, as scans without labels.
        if labels is not None or not source.is_dir() or (source / "dataset.json").exists():
            raise
        scans, notes, problems = find_scans(source)
        if not scans:
            raise
    names = ["_".join(scan.key) for scan in scans]
    cases = {
        name: SourceCase(name=name, images=(scan.path,), label=None)
        for name, scan in zip(names, scans, strict=True)
    }
    return Source(
        kind="scans",
        description="every scan below it, as no layout with labels was recognised",
        cases=cases,
        train=tuple(sorted(cases)),
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _layout(found: Source) -> list[Finding]:
    remarks: list[tuple[Severity, str]] = [("error", problem) for problem in found.problems]
    remarks += [("warning", note) for note in found.notes]
    kind: Kind = "layout"
    return [
        Finding(severity=severity, kind=kind, scan="", file="", message=message)
        for severity, message in remarks
    ]
