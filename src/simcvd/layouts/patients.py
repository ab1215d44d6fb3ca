"""Whose scan is whose: patients by the files themselves, or by a pattern over the names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from simcvd.layouts.records import Source, SourceCase
from simcvd.layouts.scans import compiled_pattern
from simcvd.types import SimcvdError
from simcvd.wording import few

SUBJECT = re.compile(r"(?:^|_)(sub-[A-Za-z0-9]+)")
VISIT = re.compile(r"(.+)[_-][a-z]*\d+")
# Names that suggest so many visits of each patient, on average, suggest none.
VISITS = 5
ALWAYS = -1  # the fold of what is held out from no training


def patients_of(cases: Mapping[str, SourceCase], pattern: str | None = None) -> dict[str, str]:
    """The patient of every scan by its name; a scan of whom nothing is known is its own patient.

    pattern: a regular expression over the scans' names, whose first group, or all it matches, is
    the patient. Without it, or where it does not match, DICOM's PatientID and BIDS's ``sub-``
    tell. A PatientID that all scans share names nobody. Raises SimcvdError for a pattern that
    is no regular expression or matches no name.
    """
    told = {name: case.patient or _subject(name) for name, case in cases.items()}
    if len(cases) > 1 and len(set(told.values())) == 1:
        told = {}
    return {name: told.get(name) or name for name in cases} | by_names(cases, pattern)


def _subject(name: str) -> str:
    match = SUBJECT.search(name)
    return match[1] if match else ""


def by_names(names: Sequence[str] | Mapping[str, object], pattern: str | None) -> dict[str, str]:
    """The patient of every name that a pattern matches; raises as `patients_of`."""
    if pattern is None:
        return {}
    compiled = compiled_pattern(pattern, "--patient-pattern")
    found = {name: compiled.search(name) for name in names}
    who = {n: (m[1] if compiled.groups else m[0]) or n for n, m in found.items() if m}
    if not who:
        raise SimcvdError(
            f"the name pattern {pattern!r} matches no scan; they are called {few(list(names))}"
        )
    return who


def with_patients(source: Source, pattern: str | None = None) -> Source:
    """The source with a patient for every scan; one in both lists is a problem."""
    who = patients_of(source.cases, pattern)
    cases = {name: replace(case, patient=who[name]) for name, case in source.cases.items()}
    shared = shared_patients(source.train, source.test, who)
    problems = [f"{text}. Put all scans of a patient into one list." for text in shared.values()]
    notes = [] if pattern else _suggested(cases)
    return replace(
        source,
        cases=cases,
        notes=(*source.notes, *notes),
        problems=(*source.problems, *problems),
        leaks=tuple(problems),
    )


def shared_patients(
    train: Sequence[str], test: Sequence[str], who: Mapping[str, str]
) -> dict[tuple[str, ...], str]:
    """Scans of each patient in both lists, with a sentence that says so."""
    sides: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, names in enumerate((train, test)):
        for name in names:
            if name in who:
                sides[who[name]][side].append(name)
    return {
        (*learnt, *tested): f"patient {patient}: {few(learnt)} for training, {few(tested)} for "
        "testing"
        for patient, (learnt, tested) in sides.items()
        if learnt and tested and learnt != tested
    }


def _suggested(cases: Mapping[str, SourceCase]) -> list[str]:
    """That names look like visits of patients, ``A_v1`` and ``A_v2``, where nothing tells."""
    if any(case.patient != name for name, case in cases.items()):
        return []
    groups: dict[str, list[str]] = defaultdict(list)
    for name in cases:
        match = VISIT.fullmatch(name)
        groups[match[1] if match else name].append(name)
    visits = [names for names in groups.values() if len(names) > 1]
    if len(groups) < 2 or not visits or len(cases) > VISITS * len(groups):
        return []
    return [
        f"{few(sorted(visits[0]), 3)} may be scans of one patient; give --patient-pattern, such "
        "as '(.+)[_-]', so that no patient is learnt from and tested on"
    ]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One training of a cross-validation: names in the order of the list.

    left_out: unlabelled scans of patients that are held out, which no training may see.
    """

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    holdout: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def scans(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Labelled, unlabelled and held-out names, as a training takes them."""
        return self.labeled, self.unlabeled, self.holdout


def folds_by_patient(
    source: Source, count: int, before: Mapping[str, int] | None = None
) -> list[Fold]:
    """The training scans as `count` folds, all scans of a patient on one side of each.

    Every labelled scan is held out in one fold. Patients are dealt by the number of their
    labelled scans, most first, each to the fold that holds the fewest. before: the fold of scans
    that were dealt earlier, `ALWAYS` for those that every training has seen; their patients stay
    where they are. A single fold takes no new patients. Raises SimcvdError where a fold is left
    empty, as where fewer than `count` patients have a labelled scan.
    """
    cases = [source.cases[name] for name in source.train if name in source.cases]
    labeled: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        if case.label is not None:
            labeled[_who(case)].append(case.name)
    place = _dealt_before(cases, before or {})
    sizes = Counter({place[who]: 0 for who in place} | dict.fromkeys(range(count), 0))
    for patient in sorted(labeled, key=lambda who: (who not in place, -len(labeled[who]))):
        if patient not in place:
            new = min(range(count), key=lambda fold: sizes[fold])
            place[patient] = ALWAYS if before and count == 1 else new
        sizes[place[patient]] += len(labeled[patient])
    if not all(sizes[fold] for fold in range(count)) or (count < 2 and not before):
        raise SimcvdError(
            f"{len(labeled)} patients have a labelled scan, too few for {count} folds; at least 2 "
            "are needed, and one for each fold. Label scans of more patients."
        )
    held = [{who for who, at in place.items() if at == fold} for fold in range(count)]
    return [_fold(cases, patients) for patients in held]


def _who(case: SourceCase) -> str:
    return case.patient or case.name


def _dealt_before(cases: Sequence[SourceCase], before: Mapping[str, int]) -> dict[str, int]:
    """The fold of each patient that has one; of one with scans in two, every training saw some."""
    place: dict[str, int] = {}
    for case in cases:
        if case.name in before:
            fold = before[case.name]
            place[_who(case)] = fold if place.get(_who(case), fold) == fold else ALWAYS
    return place


def _fold(cases: Sequence[SourceCase], held: set[str]) -> Fold:
    parts: dict[tuple[bool, bool], list[str]] = defaultdict(list)
    for case in cases:
        parts[case.label is not None, _who(case) in held].append(case.name)
    return Fold(
        labeled=tuple(parts[True, False]),
        unlabeled=tuple(parts[False, False]),
        holdout=tuple(parts[True, True]),
        left_out=tuple(parts[False, True]),
    )
