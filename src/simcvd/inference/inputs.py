"""Which scans to segment, and which file each result becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simcvd.formats import answer_for, answers, stem_of
from simcvd.formats.record import Format
from simcvd.layouts.recognise import every_scan
from simcvd.layouts.records import FileUse
from simcvd.layouts.scans import CHANNEL
from simcvd.naming import inside
from simcvd.types import SimcvdError

Named = tuple[str, tuple[Path, ...]]
"""Name and files of a scan."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One scan: its files, one or one a channel, and where its segmentation goes."""

    name: str
    images: tuple[Path, ...]
    target: Path
    format: Format

    @property
    def path(self) -> Path:
        """What the scan is called by in messages; its geometry is that of this file."""
        return self.images[0]


@dataclass(frozen=True, kw_only=True)
class Todo:
    """jobs: the scans to segment. files: what became of every file of the folders given."""

    jobs: tuple[Job, ...]
    files: tuple[FileUse, ...] = ()


def jobs(
    inputs: Sequence[Path], out: Path, *, channels: int = 1, wanted: str | None = None
) -> Todo:
    """The scans that files and folders name, DICOM series among them, each with its target.

    A folder in a known layout gives its scans, not its labels, by the names that `prepare` gives
    them. channels: of the model; files ``<name>_0000`` to ``<name>_000C`` are then one scan.
    wanted: the key of one of `answers` for all, or None for each scan's own. Raises SimcvdError
    if there is no scan, two results would have one name or one would replace its scan, and for a
    DICOM segmentation of a scan that is no DICOM.
    """
    if wanted is not None and wanted not in answers():
        raise SimcvdError(f"format '{wanted}' is none of: {', '.join(answers())}")
    named, files = _given([Path(path) for path in inputs], out)
    made = []
    for name, images in _by_channel(named, channels):
        kind = answers()[wanted] if wanted else answer_for(images[0])
        target = inside(out, name, kind.ending)
        made.append(Job(name=name, images=images, target=target, format=kind))
    _check(made)
    return Todo(jobs=tuple(made), files=tuple(files))


def _check(made: Sequence[Job]) -> None:
    taken: dict[str, Job] = {}
    for job in made:
        if other := taken.get(job.name):
            raise SimcvdError(
                f"{other.path} and {job.path} would both be written to {job.target.parent} as "
                f"'{job.name}'; rename one, or predict them into two folders"
            )
        taken[job.name] = job
        if job.target.resolve() in [image.resolve() for image in job.images]:
            raise SimcvdError(
                f"{job.path}: its segmentation would overwrite it; give another --out"
            )
        if job.format.needs_own and answer_for(job.path) is not job.format:
            raise SimcvdError(
                f"{job.path}: is not a DICOM series, so a DICOM segmentation has nothing to refer "
                "to; choose another --format"
            )


def _by_channel(scans: Sequence[Named], channels: int) -> list[Named]:
    """The scans, those of one file each put together where the files are one scan's channels."""
    found: dict[tuple[Path, str], list[Named]] = {}
    for name, files in scans:
        match = CHANNEL.fullmatch(name) if len(files) == 1 else None
        found.setdefault((files[0].parent, match[1] if match else name), []).append((name, files))
    if channels == 1:
        _refuse_channels({key: [name for name, _ in own] for key, own in found.items()})
        return list(scans)
    for (folder, name), own in found.items():
        if len(own) not in (1, channels):
            raise SimcvdError(
                f"{folder}: scan '{name}' has {len(own)} channel files, but the model needs "
                f"{channels}; add what is missing, or take away what is too much"
            )
    return [
        (name, tuple(file for _, files in sorted(own) for file in files))
        for (_, name), own in found.items()
    ]


def _refuse_channels(found: Mapping[tuple[Path, str], Sequence[str]]) -> None:
    """Several scans with the same numbers, from ``_0000`` on, are channels: one name may count."""
    numbers = {tuple(sorted(name[-5:] for name in names)) for names in found.values()}
    (each, *others) = numbers
    if len(found) > 1 and not others and len(each) > 1 and each[0] == "_0000":
        raise SimcvdError(
            f"all {len(found)} scans have {len(each)} files, {each[0]} to {each[-1]}, as channels "
            "have, but the model needs 1; give the files of the channel it was trained on alone"
        )


def _given(inputs: Sequence[Path], out: Path) -> tuple[list[Named], list[FileUse]]:
    """The scans that files and folders name, each once, and what became of the folders' files.

    What lies in ``out`` is an earlier result and no scan.
    """
    scans: dict[tuple[Path, ...], Named] = {}
    files: list[FileUse] = []
    for path in inputs:
        found: list[Named] = [(stem_of(path), (path,))]
        if path.is_dir():
            source = every_scan(path, apart_from=out)
            files += source.files
            found = [(name, case.images) for name, case in source.cases.items()]
        for one in found:
            scans.setdefault(one[1], one)
    if not scans:
        raise SimcvdError("no scan was given; name at least one file or folder")
    return list(scans.values()), files
