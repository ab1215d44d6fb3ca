"""The scans below a folder, and what each can be called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simcvd.formats import stem_of, suffix_of
from simcvd.formats.dicom_files import Series, find_series, is_dicom
from simcvd.layouts.tree import Tree, walk
from simcvd.naming import normal
from simcvd.types import SimcvdError
from simcvd.wording import few

Key = tuple[str, ...]
CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class ScanFile:
    """A scan or label: key is its folders below the root, then its name without ending.

    files, patient: of a DICOM series, its files and their PatientID.
    """

    path: Path
    key: Key
    files: tuple[Path, ...] = ()
    patient: str = ""

    @property
    def name(self) -> str:
        """Its own name, without the folders."""
        return self.key[-1]


Named = dict[str, list[ScanFile]]
Naming = Callable[[Key], str]
# A scan is called by its file or folder, by its outermost folder, or by both and all between.
NAMINGS: tuple[Naming, ...] = (lambda key: key[-1], lambda key: key[0], "_".join)


@dataclass(frozen=True, kw_only=True)
class Scans:
    """found: the scans below a folder. passed: every other file, and why it is none.

    notes: what the user should know; problems: what must be mended first.
    """

    found: list[ScanFile]
    passed: dict[Path, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def find_scans(root: Path, *, apart_from: Sequence[Path] = ()) -> Scans:
    """Every scan below `root`. apart_from: folders of something else, such as the labels'."""
    return scans_of(walk(root, apart_from=apart_from))


def scans_of(tree: Tree) -> Scans:
    """The scans among the files of a tree: files of a known format, and DICOM series."""
    known = [ScanFile(path, key_of(tree.root, path)) for path in tree.files if suffix_of(path)]
    dicom = [path for path in tree.files if not suffix_of(path) and is_dicom(path)]
    found = find_series(dicom)
    series = [_series(tree.root, one) for one in found.series]
    taken = {path for one in series for path in one.files}
    passed = dict(tree.passed)
    passed |= {path: no_format(path) for path in tree.files if not suffix_of(path)}
    passed |= dict.fromkeys(dicom, "DICOM, but no part of a scan")
    return Scans(
        found=known + series,
        passed={path: why for path, why in passed.items() if path not in taken},
        notes=found.notes,
        problems=found.problems,
    )


def key_of(root: Path, path: Path) -> Key:
    """The folders of a file below `root`, then its name without ending."""
    return tuple(map(normal, (*path.relative_to(root).parts[:-1], stem_of(path))))


def no_format(path: Path) -> str:
    """Why a file is not read: its ending."""
    ending = "".join(path.suffixes[-2:] if path.suffix in (".gz", ".bz2") else path.suffixes[-1:])
    return f"of no known format ({ending})" if ending else "of no known format"


def _series(root: Path, series: Series) -> ScanFile:
    """A series is called by its own name, in the folders that hold its folder."""
    folders = series.path.relative_to(root.parent).parts[1:-1]
    files = tuple(one.path for one in series.slices)
    patient = series.slices[0].patient if series.slices else ""
    return ScanFile(series.path, tuple(map(normal, (*folders, series.name))), files, patient)


def collected(files: Sequence[ScanFile], naming: Naming) -> Named:
    """Files by the name they get, sorted."""
    named: Named = {}
    for file in files:
        named.setdefault(naming(file.key), []).append(file)
    return dict(sorted(named.items()))


def namings_that_tell_apart(files: Sequence[ScanFile]) -> list[Named]:
    """Each way of naming that gives every scan a name of its own; the longest if none does."""
    tried = [collected(files, naming) for naming in NAMINGS]
    unique = [named for named in tried if all(len(files) == 1 for files in named.values())]
    return unique or tried[-1:]


def by_pattern(files: Sequence[ScanFile], pattern: str) -> tuple[Named, list[ScanFile]]:
    """Scans called by what a regular expression finds in their paths, and those it does not match.

    All groups of the match, joined by ``_``, are the name; without groups, the whole match.
    Raises SimcvdError for a pattern that is no regular expression.
    """
    compiled = compiled_pattern(pattern, "--names")
    named: Named = {}
    strangers = []
    for file in files:
        match = compiled.search("/".join(file.key))
        name = "_".join(filter(None, match.groups())) or match[0] if match else ""
        if name:
            named.setdefault(name.replace("/", "_"), []).append(file)
        else:
            strangers.append(file)
    return dict(sorted(named.items())), strangers


def compiled_pattern(pattern: str, option: str) -> re.Pattern[str]:
    """A regular expression of the user's. Raises SimcvdError if it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SimcvdError(
            f"the name pattern {pattern!r} of {option} is not a regular expression: {error}"
        ) from error


def doubled_keys(named: Mapping[str, Sequence[ScanFile]]) -> list[str]:
    """One problem for every name that more than one file has, endings apart."""
    return [
        f"two files of one name, '{name}': {' and '.join(str(f.path) for f in files)}. Keep or "
        "rename one."
        for name, files in named.items()
        if max(Counter(file.key for file in files).values()) > 1
    ]


def by_channel(named: Named, found: Callable[[str], bool]) -> tuple[Named, int, list[str]]:
    """Files ``<name>_0000``, ``_0001``, ... as channels of one scan: scans, channels, problems.

    found: whether there is a label of that name. Numbers may just count scans: they are channels
    only if a label is called ``<name>``, and none ``<name>_0000``.
    """
    matches = {name: CHANNEL.fullmatch(name) for name in named}
    if not all(matches.values()) or any(map(found, named)):
        return named, 1, []
    scans: dict[str, dict[str, ScanFile]] = {}
    for name, match in matches.items():
        if match:
            scans.setdefault(match[1], {})[match[2]] = named[name][0]
    if not any(map(found, scans)):
        return named, 1, []
    return whole_channels(scans)


def whole_channels(scans: dict[str, dict[str, ScanFile]]) -> tuple[Named, int, list[str]]:
    """Scans that have every channel that any has, how many these are, and what others lack."""
    wanted = sorted({number for channels in scans.values() for number in channels})
    problems = [
        f"{next(iter(channels.values())).path}: scan '{name}' has no channel "
        f"{few(sorted(set(wanted) - set(channels)))}, which others have. Add it."
        for name, channels in scans.items()
        if set(wanted) != set(channels)
    ]
    whole = {n: [c[k] for k in wanted] for n, c in scans.items() if set(c) == set(wanted)}
    return whole, len(wanted), problems
