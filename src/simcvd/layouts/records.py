"""What a recognised data set is: its scans, their labels, and what became of every file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from simcvd.preprocessing import Preprocessing

Use = Literal["scan", "label", "list", "passed over"]


@dataclass(frozen=True, kw_only=True)
class SourceCase:
    """The files of one scan: one file, or one a channel; label None when unlabelled.

    masks: (value, file) of every class where classes are files; label is then their folder.
    A DICOM series is one path: its folder, or ``folder#SeriesInstanceUID``.
    resample_label: whether a label on another grid is read on the scan's, not refused.
    values: (value in the label file, value in the data set) where the two differ, as files that
    name their classes may number them each in its own way; () where they are the same.
    patient: whose scan it is as far as the files say, or "". files: those of a DICOM series.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None
    masks: tuple[tuple[int, Path], ...] = ()
    resample_label: bool = False
    values: tuple[tuple[int, int], ...] = ()
    patient: str = ""
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileUse:
    """What became of one file. what: the scan it belongs to, or why it was passed over."""

    path: Path
    use: Use
    what: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A recognised data set.

    labels: {value in the data set: class name}, or None when they must be found in the labels.
    train, test: names in the order of the lists, or sorted where there is no list.
    notes: what the user should know. problems: what must be mended first; leaks: those of them
    that are patients in both lists.
    lists: the files that say how scans are divided or what values mean. passed: files that are
    left out, and why. files: what became of every file, filled in by `recognise`.
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
    leaks: tuple[str, ...] = ()
    lists: tuple[Path, ...] = ()
    passed: dict[Path, str] = field(default_factory=dict)
    files: tuple[FileUse, ...] = ()
