"""The label files of a data set, to be found by a scan's name or place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from simcvd.formats import suffix_of
from simcvd.formats.dicom_seg import is_segmentation
from simcvd.layouts.scans import Key, ScanFile, collected, doubled_keys, key_of, scans_of
from simcvd.layouts.tree import Tree, walk
from simcvd.layouts.words import without_label_words, without_scan_words
from simcvd.naming import normal


class Labels:
    """Label files by their names and folders.

    series: DICOM series of slices, which are no label maps. passed, problems: of what else lies
    among them, as of `Scans`.
    """

    def __init__(
        self,
        files: Sequence[ScanFile],
        passed: Mapping[Path, str] | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        self.series = [file for file in files if file.files]
        self.files = [file for file in files if not file.files]
        self.passed = dict(passed or {})
        self.problems = [*problems, *doubled_keys(collected(self.files, "/".join))]
        self._by_key = {file.key: file for file in self.files}
        self._by_folder: dict[Key, list[ScanFile]] = {}
        for file in self.files:
            self._by_folder.setdefault(file.key[:-1], []).append(file)
        self._by_name = _alone(self.files, lambda file: file.name)
        self._by_core = _alone(self.files, _core)

    def of(self, name: str, key: Key, core: str = "") -> list[ScanFile]:
        """The label of a scan, or the masks of its classes, or nothing.

        core: what is left of the scan's name without words such as "image", if it is the only
        scan of which that is left.
        """
        whole = self._by_key.get(key) or self._by_key.get((name,)) or self._by_name.get(name)
        whole = whole or self._by_core.get(name) or (self._by_core.get(core) if core else None)
        if whole:
            return [whole]
        return self._by_folder.get(key) or self._by_folder.get((name,)) or []


def labels_below(root: Path, *, apart_from: Path) -> Labels:
    """The labels below a folder. apart_from: the scans' folder."""
    tree = walk(root, apart_from=[apart_from], own=True)
    drawn = [path for path in tree.files if not suffix_of(path) and is_segmentation(path)]
    rest = set(tree.files) - set(drawn)
    found = scans_of(replace(tree, files=tuple(sorted(rest))))
    segmentations = [_segmentation(root, path, tree) for path in drawn]
    return Labels([*found.found, *segmentations], found.passed, found.problems)


def _segmentation(root: Path, path: Path, tree: Tree) -> ScanFile:
    """A DICOM segmentation, called like its folder if it is all that lies there."""
    *folders, _ = key_of(root, path)
    beside = [file for file in tree.files if file.parent == path.parent]
    alone = bool(folders) and len(beside) == 1
    return ScanFile(path, tuple(folders) if alone else (*folders, normal(path.stem)))


def _alone(files: Sequence[ScanFile], called: Callable[[ScanFile], str]) -> dict[str, ScanFile]:
    """The files by a name that no other of them has."""
    names = [called(file) for file in files]
    counts = Counter(names)
    return {n: file for n, file in zip(names, files, strict=True) if n and counts[n] == 1}


def _core(label: ScanFile) -> str:
    """What a label's name leaves when the words that say so are gone, or its folder's name."""
    core = without_label_words(label.name)
    if not core:
        return label.key[-2] if len(label.key) > 1 else ""
    return without_scan_words(core)
