"""The files of a data set: records, pairing by name, and the lists that split it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simcvd.data.preprocess import Preprocessing
from simcvd.formats import stem_of, suffix_of
from simcvd.types import SimcvdError
from simcvd.wording import few


@dataclass(frozen=True, kw_only=True)
class SourceCase:
    """The files of one scan: one file, or one a channel; label None when unlabelled.

    masks: (value, file) of every class where classes are files; label is then their folder.
    A DICOM series is one path: its folder, or ``folder#SeriesInstanceUID``.
    resample_label: whether a label on another grid is read on the scan's, not refused.
    values: (value in the label file, value in the data set) where the two differ, as files that
    name their classes may number them each in its own way; () where they are the same.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None
    masks: tuple[tuple[int, Path], ...] = ()
    resample_label: bool = False
    values: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A recognised data set.

    labels: {value in the files: class name}, or None when they must be found in the data.
    train, test: names in the order of the lists, or sorted where there is no list.
    notes: what the user should know. problems: what must be mended first.
    """

    kind: str
    description: str
    cases: dict[str, SourceCase]
    train: tuple[str, ...]
    test: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ("image",)
    labels: dict[int, str] | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


Files = dict[str, tuple[Path, ...]]
Pairs = tuple[dict[str, SourceCase], list[str], list[str]]  # cases, notes, problems


def one_each(images: list[Path]) -> Files:
    """Scans by name, one file a scan."""
    return {stem_of(path): (path,) for path in images}


def paired(images: Files, labels: list[Path]) -> Pairs:
    """Every scan with the label of its name, where there is one.

    Some labels without a scan are a note; no pair at all is a problem of naming.
    """
    by_name = {stem_of(path): path for path in labels}
    cases = {
        name: SourceCase(name=name, images=files, label=by_name.get(name))
        for name, files in images.items()
    }
    notes, problems = [], doubled(labels)
    orphans = sorted(set(by_name) - set(cases))
    if orphans and len(orphans) == len(by_name):
        problems.append(
            f"no label has the name of a scan: labels are called {few(orphans)}, "
            f"scans {few(sorted(cases))}. Give label and scan one name."
        )
    elif orphans:
        notes.append(f"{len(orphans)} labels have no scan and are left out: {few(orphans)}")
    return cases, notes, problems


def with_lists(root: Path, source: Source) -> Source:
    """Take train.list and test.list (one name a line) where they stand in the folder."""
    found = {part: root / f"{part}.list" for part in ("train", "test")}
    found = {part: path for part, path in found.items() if path.is_file()}
    if not found:
        return source
    return with_split(source, root, {part: _lines(path) for part, path in found.items()})


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def with_split(source: Source, where: Path, split: dict[str, Any]) -> Source:
    """The source with the given lists; a list that is absent gets what the other leaves."""
    problems = []
    for part in ("train", "test"):
        names = split.get(part, [])
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise SimcvdError(f"{where}: '{part}' must be a list of scan names.")
        problems += [
            f"{where}: {n} of the {part} list has no scan." for n in names if n not in source.cases
        ]
        if twice := few(sorted({n for n in names if names.count(n) > 1})):
            problems.append(f"{where}: named more than once in the {part} list: {twice}.")
    train, test = split.get("train"), split.get("test", [])
    if train is None:
        train = [n for n in source.train if n not in test]
    if both := few(sorted(set(train) & set(test))):
        problems.append(f"{where}: in the train list and in the test list: {both}.")
    if not train:
        problems.append(f"{where}: no scan is left to train on.")
    notes = []
    if rest := sorted(set(source.cases) - set(train) - set(test)):
        notes.append(f"{len(rest)} scans are in no list and are left out: {few(rest)}")
    return replace(
        source,
        train=tuple(train),
        test=tuple(test),
        notes=(*source.notes, *notes),
        problems=(*source.problems, *problems),
    )


def scans(folder: Path) -> list[Path]:
    """Files of a known format, sorted; hidden ones (macOS leaves ``._x.nii.gz``) apart."""
    if not folder.is_dir():
        return []
    return [p for p in visible(folder.iterdir()) if p.is_file() and suffix_of(p)]


def visible(paths: Iterable[Path]) -> list[Path]:
    """The paths sorted, hidden ones left out."""
    return sorted(p for p in paths if not p.name.startswith("."))


def doubled(paths: Iterable[Path]) -> list[str]:
    """One problem for every name that more than one file has."""
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(stem_of(path), []).append(str(path))
    return [
        f"two files of one name, '{name}': {' and '.join(files)}. Keep or rename one."
        for name, files in by_name.items()
        if len(files) > 1
    ]


def read_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file of the user's. Raises SimcvdError if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SimcvdError(f"{path}: is no readable JSON ({error}).") from error
    if not isinstance(content, dict):
        raise SimcvdError(f"{path}: must hold a JSON object, not a {type(content).__name__}.")
    return content
