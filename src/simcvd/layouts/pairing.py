"""Scans of one folder with the labels of another, by name.

Scans may lie in nested folders, in mixed formats, in one file, one a channel, or a DICOM
series. Labels may be one file a scan, or one mask a class in a folder with the scan's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simcvd.layouts.labels import Labels, labels_below
from simcvd.layouts.records import SourceCase
from simcvd.layouts.scans import (
    Named,
    ScanFile,
    Scans,
    by_channel,
    by_pattern,
    doubled_keys,
    namings_that_tell_apart,
    scans_of,
)
from simcvd.layouts.tree import walk
from simcvd.layouts.words import without_label_words, without_scan_words
from simcvd.types import SimcvdError
from simcvd.wording import few

NO_SCAN = "a label of no scan"


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Scans with their labels. classes: {value: name} where every class is a file, else None.

    passed: the files that are left out, and why.
    """

    cases: dict[str, SourceCase]
    channels: int = 1
    classes: dict[int, str] | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    passed: dict[Path, str] = field(default_factory=dict)


def pair(images: Path, labels: Path, names: str | None = None) -> Pairing:
    """The scans of one folder with the labels of another.

    Of the ways to name a scan that one is taken which gives every scan a name of its own and
    finds the most labels; names: a regular expression that finds the name in a path instead.
    Raises SimcvdError if there is no scan, or if both folders are one.
    """
    if images.resolve() == labels.resolve():
        raise SimcvdError(f"{images}: is both the scans' and the labels' folder. Give two.")
    scans = scans_of(walk(images, apart_from=[labels]))
    if not scans.found:
        listed = "".join(f"\n  - {problem}" for problem in scans.problems)
        raise SimcvdError(f"{images}: holds no scan of a known format.{listed}")
    return paired(scans, labels_below(labels, apart_from=images), names)


Find = Callable[[str, list[ScanFile]], list[ScanFile]]
"""The label files of a scan, from its name and its files."""


def paired(scans: Scans, labels: Labels, pattern: str | None = None) -> Pairing:
    """Scans and labels that were found; see `pair`."""
    passed, problems = {**labels.passed, **scans.passed}, [*scans.problems, *labels.problems]
    if pattern:
        named, strangers = by_pattern(scans.found, pattern)
        passed |= dict.fromkeys(_paths(strangers), "its path does not match --names")
        drawn, _ = by_pattern(labels.files, pattern)
        channels, more = 1, _several(named)
        found = {name: drawn.get(name, []) for name in named}
    else:
        named, channels, more = _best_naming(scans.found, labels)
        find = _finder(named, labels)
        found = {name: find(name, files) for name, files in named.items()}
    problems += [*doubled_keys(named), *more]
    made = _with_labels(named, found)
    notes, faults, rest = _without_scan(made.cases, named, labels)
    return Pairing(
        cases=made.cases,
        channels=channels,
        classes=made.classes,
        notes=(*scans.notes, *notes, *made.notes),
        problems=(*problems, *faults, *made.problems),
        passed={**passed, **rest},
    )


def _several(named: Named) -> list[str]:
    return [
        f"{len(files)} scans are called '{name}' by --names, such as {files[0].path} and "
        f"{files[1].path}. Give a pattern that tells them apart."
        for name, files in named.items()
        if len(files) > 1
    ]


def _best_naming(found: list[ScanFile], labels: Labels) -> tuple[Named, int, list[str]]:
    """Names, channels a scan, and problems with the channels."""
    split = [_by_channel(named, labels) for named in namings_that_tell_apart(found)]
    return max(split, key=lambda one: _labelled(one[0], labels))


def _by_channel(named: Named, labels: Labels) -> tuple[Named, int, list[str]]:
    keys = {name: files[0].key for name, files in named.items()}
    return by_channel(named, lambda name: bool(labels.of(name, keys.get(name, (name,)))))


def _labelled(named: Named, labels: Labels) -> int:
    find = _finder(named, labels)
    return sum(bool(find(name, files)) for name, files in named.items())


def _finder(named: Named, labels: Labels) -> Find:
    """Finds labels by the scan's name, or by what is left of it without words such as "image"."""
    cores = Counter(without_scan_words(name) for name in named)

    def find(name: str, files: list[ScanFile]) -> list[ScanFile]:
        core = without_scan_words(name)
        return labels.of(name, files[0].key, core if cores[core] == 1 else "")

    return find


def _with_labels(named: Named, found: Named) -> Pairing:
    """The cases, with label maps or one mask a class."""
    found = {name: files for name, files in found.items() if files}
    parts = {name: {_class(f, name): f for f in files} for name, files in found.items()}
    masks = {n: own for n, own in parts.items() if _are_masks(n, found[n], own, named)}
    if len({(*own,) for own in masks.values()}) == 1 and all(len(m) == 1 for m in masks.values()):
        masks = {}  # one file a scan, all called alike: <case>/label.nii.gz
    problems = [*_mixed(masks, found), *_unlike(masks), *_clashes(masks, found)]
    classes = sorted({name for own in masks.values() for name in own})
    value = {name: i for i, name in enumerate(classes, start=1)}
    cases = {}
    for name, files in named.items():
        own = tuple(sorted((value[c], f.path) for c, f in masks.get(name, {}).items()))
        plain = found[name][0].path if name in found else None
        cases[name] = SourceCase(
            name=name,
            images=tuple(file.path for file in files),
            label=own[0][1].parent if own else plain,
            masks=own,
            patient=files[0].patient,
            files=tuple(part for file in files for part in file.files),
        )
    declared = {0: "background", **{i: name for name, i in value.items()}} if masks else None
    notes = _absent(masks, classes)
    return Pairing(cases=cases, classes=declared, notes=tuple(notes), problems=tuple(problems))


def _class(file: ScanFile, scan: str) -> str:
    """The class a mask is of: its name without the scan's and without words for label.

    "" is a label map of all classes, ``p0/p0_seg``.
    """
    name = file.name
    for place in (scan, *file.key[:-1]):
        rest = name.removeprefix(place)
        if rest != name and rest[:1] in ("", *"._- "):
            name = rest.lstrip("._- ")
    return without_label_words(name)


def _are_masks(name: str, files: list[ScanFile], own: Mapping[str, ScanFile], named: Named) -> bool:
    """Whether files were found by their folder, not by their own name."""
    folder, scan = files[0].key[:-1], named[name][0].key
    by_folder = bool(folder) and (folder in (scan, (name,)) or len(files) > 1)
    return by_folder and files[0].key != scan and set(own) != {""}


def _mixed(masks: Mapping[str, object], found: Named) -> list[str]:
    if not masks or len(masks) == len(found):
        return []
    return [
        f"{len(masks)} scans have one mask a class, but {len(found) - len(masks)} have one "
        f"label map, such as '{min(set(found) - set(masks))}'. Store all labels one way."
    ]


def _unlike(masks: Mapping[str, Mapping[str, ScanFile]]) -> list[str]:
    """Masks whose names no two scans share are not named by class."""
    names = [name for own in masks.values() for name in own]
    if len(masks) < 2 or len(set(names)) < len(names):
        return []
    shown = [str(file.path) for own in masks.values() for file in own.values()]
    return [
        f"no class has a mask in two scans, so the masks are not named by class: {few(shown, 3)}. "
        "Call a label map like its scan, or the masks of a class alike in every scan's folder."
    ]


def _clashes(masks: Mapping[str, Mapping[str, ScanFile]], found: Named) -> list[str]:
    return [
        f"{found[name][0].path.parent}: several files are one class, or one is the whole label map "
        f"beside others: {few([f.path.name for f in found[name]])}. Keep one of them a class."
        for name, own in masks.items()
        if "" in own or len(own) < len(found[name])
    ]


def _absent(masks: Mapping[str, Mapping[str, ScanFile]], classes: list[str]) -> list[str]:
    without = {c: [case for case, own in masks.items() if c not in own] for c in classes}
    return [
        f"{len(cases)} labelled scans have no mask '{name}', which therefore counts as absent "
        f"there: {few(cases)}"
        for name, cases in without.items()
        if cases
    ]


def _without_scan(
    cases: Mapping[str, SourceCase], named: Named, labels: Labels
) -> tuple[list[str], list[str], dict[Path, str]]:
    """Notes, problems and files: what lies among the labels and is the label of no scan.

    Labels without a scan are a note if they are some, a problem if they are all.
    """
    used = {path for case in cases.values() for path in label_files(case)}
    rest = [file for file in labels.files if file.path not in used]
    passed = {file.path: NO_SCAN for file in rest}
    notes, problems = [], []
    if rest and used:
        shown = few(sorted({"/".join(file.key) for file in rest}))
        notes.append(f"{len(rest)} labels have no scan and are left out: {shown}")
    elif rest:
        shown = few(sorted({"/".join(file.key) for file in rest}))
        problems.append(
            f"no label has the name of a scan: labels are called {shown}, scans "
            f"{few(sorted(named))}. Give label and scan one name, or a pattern with --names."
        )
    for series in labels.series:
        passed |= dict.fromkeys(series.files, "slices of images, no label map")
    missing = _expected(cases, labels)
    notes += [f"{name} counts as unlabelled, but there is {what}" for name, what in missing.items()]
    return notes, problems, passed


def label_files(case: SourceCase) -> list[Path]:
    """The files of a scan's label: none, one, or one a class."""
    return [path for _, path in case.masks] or ([case.label] if case.label else [])


def _expected(cases: Mapping[str, SourceCase], labels: Labels) -> dict[str, str]:
    """Unlabelled scans beside which something lies that may be meant as their label."""
    meant = {
        file.name: f"{file.path}, a DICOM series of images. Export the label as DICOM SEG or NIfTI"
        for file in labels.series
    }
    for path, why in labels.passed.items():
        name = path.name.partition(".")[0]
        meant.setdefault(without_label_words(name) or name, f"{path}, {why}")
    return {name: meant[name] for name, case in cases.items() if not case.label and name in meant}


def _paths(files: Sequence[ScanFile]) -> list[Path]:
    return [path for file in files for path in (file.files or (file.path,))]
