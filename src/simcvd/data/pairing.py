"""Two folders of whatever lies in them: scans and labels found, named and paired.

Scans may lie in nested folders, in mixed formats, in one file, one a channel, or a DICOM
series. Labels may be one file a scan, or one mask a class in a folder with the scan's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simcvd.data.listing import SourceCase
from simcvd.formats import stem_of, suffix_of
from simcvd.formats.dicom_files import Series, files_below, find_series, is_dicom
from simcvd.types import SimcvdError
from simcvd.wording import few

Key = tuple[str, ...]
CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class ScanFile:
    """A scan or label: key is its folders below the root, then its name without ending."""

    path: Path
    key: Key


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Scans with their labels. classes: {value: name} where every class is a file, else None."""

    cases: dict[str, SourceCase]
    channels: int
    classes: dict[int, str] | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def find_scans(
    root: Path, apart_from: Path | None = None
) -> tuple[list[ScanFile], list[str], list[str]]:
    """Every scan below `root`, with notes and problems of the DICOM files there.

    apart_from: a folder whose files are no scans, such as the labels'.
    """
    labels = apart_from.resolve() if apart_from else None
    files = [f for f in files_below(root) if labels is None or labels not in f.resolve().parents]
    known = [ScanFile(path, _key(root, path)) for path in files if suffix_of(path)]
    found = find_series(path for path in files if not suffix_of(path) and is_dicom(path))
    series = [ScanFile(s.path, _series_key(root, s)) for s in found.series]
    return known + series, list(found.notes), list(found.problems)


def _key(root: Path, path: Path) -> Key:
    return (*path.relative_to(root).parts[:-1], stem_of(path))


def _series_key(root: Path, series: Series) -> Key:
    """A series alone is called like its folder; others get their SeriesNumber, or the UID."""
    return (*series.path.relative_to(root.parent).parts[1:-1], series.name)


def pair(images: Path, labels: Path) -> Pairing:
    """The scans of one folder with the labels of another.

    Of three ways to name a scan (its file or folder, its outermost folder, both and all
    between) that one is taken which gives every scan a name of its own and finds the most
    labels. Raises SimcvdError if there is no scan, or if both folders are one.
    """
    if images.resolve() == labels.resolve():
        raise SimcvdError(f"{images}: is both the scans' and the labels' folder. Give two.")
    found, notes, problems = find_scans(images, apart_from=labels)
    if not found:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise SimcvdError(f"{images}: holds no scan of a known format.{listed}")
    annotations = Labels(labels)
    names, channels, more = _best_naming(found, annotations)
    problems += [*_doubled(names), *annotations.doubled, *more]
    cases, classes, remarks, faults = _with_labels(names, annotations)
    return Pairing(
        cases=cases,
        channels=channels,
        classes=classes,
        notes=(*notes, *remarks),
        problems=(*problems, *faults),
    )


class Labels:
    """The label files below a folder, to be found by a scan's name or place."""

    def __init__(self, root: Path) -> None:
        files = files_below(root) if root.is_dir() else []
        self.files = [ScanFile(path, _key(root, path)) for path in files if suffix_of(path)]
        self.by_key = {file.key: file for file in self.files}
        self.by_folder: dict[Key, list[ScanFile]] = {}
        for file in self.files:
            self.by_folder.setdefault(file.key[:-1], []).append(file)
        ends = [file.key[-1] for file in self.files]
        self.by_name = {f.key[-1]: f for f in self.files if ends.count(f.key[-1]) == 1}
        self.doubled = _doubled(_collected(self.files, "/".join))

    def of(self, name: str, key: Key) -> list[ScanFile]:
        """The label of a scan, or the masks of its classes, or nothing."""
        whole = self.by_key.get(key) or self.by_key.get((name,)) or self.by_name.get(name)
        if whole:
            return [whole]
        return self.by_folder.get(key) or self.by_folder.get((name,)) or []


Named = dict[str, list[ScanFile]]


def _collected(files: list[ScanFile], naming: Callable[[Key], str]) -> Named:
    named: Named = {}
    for file in files:
        named.setdefault(naming(file.key), []).append(file)
    return dict(sorted(named.items()))


def _best_naming(found: list[ScanFile], labels: Labels) -> tuple[Named, int, list[str]]:
    """Names, channels a scan, and problems with the channels."""
    namings: list[Callable[[Key], str]] = [lambda key: key[-1], lambda key: key[0], "_".join]
    tried = [_collected(found, naming) for naming in namings]
    unique = [named for named in tried if all(len(files) == 1 for files in named.values())]
    split = [_by_channel(named, labels) for named in unique or tried[-1:]]
    return max(split, key=lambda one: sum(bool(_label(labels, n, f)) for n, f in one[0].items()))


def _label(labels: Labels, name: str, files: list[ScanFile]) -> list[ScanFile]:
    key = files[0].key
    return labels.of(name, key) or labels.of(name, (*key[:-1], key[-1].removesuffix("_0000")))


def _by_channel(named: Named, labels: Labels) -> tuple[Named, int, list[str]]:
    """Files ``<name>_0000``, ``_0001``, ... as channels of one scan.

    Only if a label is called ``<name>``, and none ``<name>_0000``: numbers may just count scans.
    """
    matches = {name: CHANNEL.fullmatch(name) for name in named}
    if not all(matches.values()) or any(labels.of(n, f[0].key) for n, f in named.items()):
        return named, 1, []
    scans: dict[str, dict[str, ScanFile]] = {}
    for name, match in matches.items():
        if match:
            scans.setdefault(match[1], {})[match[2]] = named[name][0]
    if not any(labels.of(name, (name,)) for name in scans):
        return named, 1, []
    wanted = sorted({number for channels in scans.values() for number in channels})
    problems = [
        f"{next(iter(channels.values())).path}: scan '{name}' has no channel "
        f"{', '.join(sorted(set(wanted) - set(channels)))}, which others have. Add it."
        for name, channels in scans.items()
        if set(wanted) != set(channels)
    ]
    whole = {n: [c[k] for k in wanted] for n, c in scans.items() if set(c) == set(wanted)}
    return whole, len(wanted), problems


def _doubled(named: Named) -> list[str]:
    """One problem for every name that more than one file has."""
    return [
        f"two files of one name, '{name}': {' and '.join(str(f.path) for f in files)}. Keep or "
        "rename one."
        for name, files in named.items()
        if len({file.key for file in files}) < len(files)
    ]


Cases = tuple[dict[str, SourceCase], dict[int, str] | None, list[str], list[str]]


def _with_labels(names: Named, labels: Labels) -> Cases:
    found = {name: _label(labels, name, files) for name, files in names.items()}
    found = {name: files for name, files in found.items() if files}
    masks = {n: f for n, f in found.items() if f[0].key[:-1] and _is_class_folder(n, f, names)}
    stems = {tuple(file.key[-1] for file in files) for files in masks.values()}
    if len(stems) == 1 and len(next(iter(stems))) == 1:
        masks = {}  # one file a scan, all called alike: <case>/label.nii.gz
    classes = sorted({file.key[-1] for files in masks.values() for file in files})
    value = {name: i for i, name in enumerate(classes, start=1)}
    cases = {}
    for name, files in names.items():
        own = tuple(sorted((value[f.key[-1]], f.path) for f in masks.get(name, [])))
        plain = found[name][0].path if name in found else None
        label = own[0][1].parent if own else plain
        images = tuple(file.path for file in files)
        cases[name] = SourceCase(name=name, images=images, label=label, masks=own)
    notes, problems = _orphans(names, labels, found)
    if masks and len(masks) < len(found):
        problems.append(
            f"{len(masks)} scans have one mask a class, but {len(found) - len(masks)} have one "
            f"label map, such as '{min(set(found) - set(masks))}'. Store all labels one way."
        )
    declared = {0: "background", **{i: name for name, i in value.items()}} if masks else None
    return cases, declared, [*notes, *_absent(masks, classes)], problems


def _is_class_folder(name: str, files: list[ScanFile], names: Named) -> bool:
    """Whether files were found by their folder, not by their own name."""
    folder, scan = files[0].key[:-1], names[name][0].key
    return files[0].key != scan and files[0].key[-1] != name and folder in (scan, (name,))


def _absent(masks: Named, classes: list[str]) -> list[str]:
    notes = []
    for name in classes:
        without = [case for case, files in masks.items() if name not in {f.key[-1] for f in files}]
        if without:
            notes.append(
                f"{len(without)} labelled scans have no mask '{name}', which therefore counts as "
                f"absent there: {few(without)}"
            )
    return notes


def _orphans(names: Named, labels: Labels, found: Named) -> tuple[list[str], list[str]]:
    """Labels without a scan: a note if they are some, a problem if they are all."""
    used = {file.path for files in found.values() for file in files}
    rest = sorted({"/".join(f.key) for f in labels.files if f.path not in used})
    if not rest:
        return [], []
    if used:
        return [f"{len(rest)} labels have no scan and are left out: {few(rest)}"], []
    return [], [
        f"no label has the name of a scan: labels are called {few(rest)}, scans "
        f"{few(sorted(names))}. Give label and scan one name."
    ]
