"""Every file below a folder: those that may be read, and the others with the reason.

Each folder is entered once, however many links lead to it. What simcvd itself wrote there
(segmentations, a run, a cache) is no scan.
"""

from __future__ import annotations

import csv
import os
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simcvd.files import UTF8
from simcvd.formats import stem_of
from simcvd.naming import fault, normal
from simcvd.wording import counted

SYSTEM = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"}
# Files that other programs have, too, and what stands in those of simcvd.
MANIFEST, RUN = "manifest.json", "run.json"
WRITTEN = {MANIFEST: '"data_hash"', RUN: '"preset"'}
# Files that stand together in a folder of simcvd's own. `run` writes the first of its own before
# anything else, and never removes it.
WHOLE_RUN = "a folder of simcvd run"
OWN_FOLDERS = (
    ({MANIFEST, "cases"}, "a cache of simcvd prepare"),
    ({"config.json", "checkpoints"}, "a training of simcvd"),
    ({RUN}, WHOLE_RUN),
    ({"model.json", "model.safetensors"}, "a model of simcvd"),
    ({".model"}, "segmentations made by simcvd"),
)
TABLE = "predictions.csv"
MAPS = ("probabilities", "entropy")


@dataclass(frozen=True, kw_only=True)
class Tree:
    """files: regular ones below `root`, sorted. passed: what is not read, and why."""

    root: Path
    files: tuple[Path, ...]
    passed: dict[Path, str]


def walk(root: Path, *, apart_from: Sequence[Path] = (), own: bool = False) -> Tree:
    """Look through `root`, which may be no folder at all, and then has no files.

    apart_from: folders that are looked at as something else. own: whether what simcvd wrote
    counts as files like any other, as in a folder of labels; a folder of `simcvd run` does not,
    except as the root.
    """
    walker = _Walker(root, [path.resolve() for path in apart_from], own)
    walker.run()
    passed = dict(sorted(walker.passed.items()))
    return Tree(root=root, files=tuple(sorted(walker.files)), passed=passed)


class _Walker:
    def __init__(self, root: Path, apart: list[Path], own: bool) -> None:
        self.root, self.apart, self.own = root, apart, own
        self.files: list[Path] = []
        self.passed: dict[Path, str] = {}
        self.entered: set[tuple[int, int]] = set()
        self.above = {_identity(p) for p in root.resolve().parents}

    def run(self) -> None:
        """Real folders first, then links, so that a folder is called by its own name."""
        folders, links = deque([self.root]), deque[Path]()
        while folders or links:
            folder = folders.popleft() if folders else links.popleft()
            if self._enters(folder):
                self._look(folder, folders, links)

    def _enters(self, folder: Path) -> bool:
        if not folder.is_dir():
            return False
        if self.apart and folder.resolve() in self.apart:
            return False
        key = _identity(folder)
        if key in self.entered or key in self.above:
            self.passed[folder] = "a link to a folder that is looked at already, or holds this one"
            return False
        self.entered.add(key)
        return True

    def _look(self, folder: Path, folders: deque[Path], links: deque[Path]) -> None:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.passed[folder] = f"cannot be listed ({error.strerror})"
            return
        names = {entry.name for entry in entries}
        names -= {name for name in names & set(WRITTEN) if _foreign(folder / name)}
        what = next((what for needed, what in OWN_FOLDERS if needed <= names), None)
        if what and (not self.own or (what == WHOLE_RUN and folder != self.root)):
            self.passed[folder] = f"{what}, {_count(folder)}"
            return
        results = set() if self.own else _own_files(folder, names)
        for entry in entries:
            path = Path(entry.path)
            if why := _passed(entry, results):
                self.passed[path] = why
            elif entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            else:
                self.files.append(path)


def _identity(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_dev, info.st_ino


def _passed(entry: os.DirEntry[str], results: set[str]) -> str:
    """Why an entry is not looked at; empty if it is."""
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return f"a link that leads nowhere ({error.strerror})"
    folder = stat.S_ISDIR(mode)
    inside = f", {_count(Path(entry.path))}" if folder else ""
    if entry.name in results:
        return f"made by simcvd predict{inside}"
    if entry.name.lower() in SYSTEM:
        return f"of the operating system{inside}"
    if entry.name.startswith("."):
        return f"hidden{inside}"
    if not folder and not stat.S_ISREG(mode):
        return "no file but a pipe or device"
    wrong = fault(normal(entry.name if folder else stem_of(Path(entry.name))))
    return f"its name {wrong}: rename it{inside}" if wrong else ""


def _foreign(path: Path) -> bool:
    """Whether a file of `WRITTEN` is none of simcvd's."""
    try:
        return WRITTEN[path.name] not in path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return True


def _own_files(folder: Path, names: set[str]) -> set[str]:
    """What `simcvd predict` wrote into a folder, as its table says."""
    if TABLE not in names:
        return set()
    try:
        with (folder / TABLE).open(encoding=UTF8, newline="") as file:
            rows = csv.reader(file)
            if next(rows, [])[:3] != ["case", "file", "confidence"]:
                return set()
            return {TABLE, *MAPS, *(row[1] for row in rows if len(row) > 1)}
    except (OSError, ValueError, csv.Error):
        return set()


def _count(folder: Path) -> str:
    """How many files lie below; links are not followed."""
    return counted(sum(len(files) for _, _, files in os.walk(folder)), "file")
