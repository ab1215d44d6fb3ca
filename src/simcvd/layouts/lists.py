"""The lists that split a data set, and small things that several layouts need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from simcvd.files import UTF8, parse_object
from simcvd.formats import stem_of, suffix_of
from simcvd.layouts.records import Source
from simcvd.naming import normal, shown
from simcvd.types import SimcvdError
from simcvd.wording import few


def with_lists(root: Path, source: Source) -> Source:
    """Take train.list and test.list (one name a line) where they stand in the folder."""
    found = {part: root / f"{part}.list" for part in ("train", "test")}
    found = {part: path for part, path in found.items() if path.is_file()}
    if not found:
        return source
    split = {part: _lines(path) for part, path in found.items()}
    return with_split(source, root, split, tuple(found.values()))


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding=UTF8).splitlines()
    except (OSError, ValueError) as error:
        raise SimcvdError(f"{path}: is not a list of names, one a line ({error}).") from error
    return [normal(line.strip()) for line in lines if line.strip()]


def with_split(source: Source, where: Path, split: dict[str, Any], lists: Iterable[Path]) -> Source:
    """The source with the given lists; a list that is absent gets what the other leaves."""
    problems = []
    for part in ("train", "test"):
        names = split.get(part, [])
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise SimcvdError(f"{where}: '{part}' must be a list of scan names.")
        problems += [
            f"{where}: {shown(n)[1:-1]} of the {part} list has no scan."
            for n in names
            if n not in source.cases
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
        lists=(*source.lists, *lists),
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
        return parse_object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SimcvdError(f"{path}: is not readable JSON ({error}).") from error
