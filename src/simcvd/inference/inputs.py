"""Which scans to segment, and which file each result becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simcvd.data.pairing import CHANNEL, find_scans
from simcvd.formats import answer_for, answers, stem_of
from simcvd.formats.record import Format
from simcvd.types import SimcvdError


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


def jobs(
    inputs: Sequence[Path], out: Path, *, channels: int = 1, wanted: str | None = None
) -> list[Job]:
    """The scans that files and folders name, DICOM series among them, each with its target.

    channels: of the model; files ``<name>_0000`` to ``<name>_000C`` are then one scan.
    wanted: the key of one of `answers` for all, or None for each scan's own. Raises SimcvdError
    if there is no scan, two results would have one name or one would replace its scan, and for a
    DICOM segmentation of a scan that is no DICOM.
    """
    if wanted is not None and wanted not in answers():
        raise SimcvdError(f"format '{wanted}' is none of: {', '.join(answers())}")
    made = []
    for name, images in _by_channel(_scans(inputs, out), channels):
        kind = answers()[wanted] if wanted else answer_for(images[0])
        target = out / f"{name}{kind.ending}"
        made.append(Job(name=name, images=images, target=target, format=kind))
    _check(made)
    return made


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
                f"{job.path}: is no DICOM series, so a DICOM segmentation has nothing to refer to; "
                "choose another --format"
            )


def _by_channel(scans: Sequence[Path], channels: int) -> list[tuple[str, tuple[Path, ...]]]:
    """Name and files of every scan, files of one scan's channels put together."""
    found: dict[tuple[Path, str], list[Path]] = {}
    for path in scans:
        match = CHANNEL.fullmatch(stem_of(path))
        found.setdefault((path.parent, match[1] if match else stem_of(path)), []).append(path)
    if channels == 1:
        _refuse_channels(found)
        return [(stem_of(path), (path,)) for path in scans]
    for (folder, name), files in found.items():
        if len(files) not in (1, channels):
            raise SimcvdError(
                f"{folder}: scan '{name}' has {len(files)} channel files, but the model needs "
                f"{channels}; add what is missing, or take away what is too much"
            )
    return [(name, tuple(sorted(files))) for (_, name), files in found.items()]


def _refuse_channels(found: Mapping[tuple[Path, str], Sequence[Path]]) -> None:
    """Several scans with the same numbers, from ``_0000`` on, are channels: one name may count."""
    numbers = {tuple(sorted(stem_of(f)[-5:] for f in files)) for files in found.values()}
    (each, *others) = numbers
    if len(found) > 1 and not others and len(each) > 1 and each[0] == "_0000":
        raise SimcvdError(
            f"all {len(found)} scans have {len(each)} files, {each[0]} to {each[-1]}, as channels "
            "have, but the model needs 1; give the files of the channel it was trained on alone"
        )


def _scans(inputs: Sequence[Path], out: Path) -> list[Path]:
    """The inputs, each folder replaced by the scans below it, DICOM series among them.

    What lies in ``out`` is an earlier result and no scan.
    """
    scans: list[Path] = []
    for path in map(Path, inputs):
        scans += [f for f in _scans_below(path, out) if f not in scans]
    if not scans:
        raise SimcvdError("no scan was given; name at least one file or folder")
    return scans


def _scans_below(path: Path, out: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = find_scans(path, apart_from=out)[0]  # what is wrong with a scan stops that one alone
    if not found:
        raise SimcvdError(f"{path}: no scan in this folder; give scans or a folder of scans")
    return list(dict.fromkeys(scan.path for scan in found))
