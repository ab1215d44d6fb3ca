"""Which DICOM files make up which series, wherever they lie below a folder.

A series is addressed by a path: its folder if nothing else lies there, else
``folder#UID`` with its SeriesInstanceUID.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from simcvd.formats.dicom_tags import Slice, examined, is_marked
from simcvd.formats.guard import is_regular
from simcvd.wording import counted

SUFFIXES = (".dcm", ".ima", ".dicom")
# Storage classes that hold no scan: reports, presentation states, documents, raw data,
# registrations, segmentations, surfaces, waveforms, radiotherapy objects (PS3.4, annex B).
NO_SCAN = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(4\.2|9|11|66|67|68|88|104|481)(\.|$)")
ADDRESS = re.compile(r"#([0-9.]*)$")


@dataclass(frozen=True, kw_only=True)
class Series:
    """The slices of one series and patient, in the order of their file names.

    name: what the scan is called: its folder, with the SeriesNumber where several share that.
    problems: why it cannot be read, damaged files among its own for example.
    """

    path: Path
    name: str
    slices: tuple[Slice, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """The series below a folder. notes: what was left out. problems: files of several patients.

    A damaged file is a problem of its series alone.
    """

    series: tuple[Series, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """Whether a file says so by its ending, by the mark that DICOM files bear, or its first tag."""
    if path.name.upper() == "DICOMDIR" or not is_regular(path):
        return False
    return path.suffix.lower() in SUFFIXES or is_marked(path)


def split_address(path: Path) -> tuple[Path, str | None]:
    """Folder and SeriesInstanceUID of ``folder#UID``; a plain path has None."""
    match = ADDRESS.search(path.name)
    if match is None or path.exists():
        return path, None
    return path.with_name(path.name[: match.start()]), match[1]


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted, hidden files and folders left out.

    Links are followed, but into no folder twice: one that leads back would never end.
    """
    found: list[Path] = []
    seen = {_identity(folder)}
    for place, folders, files in os.walk(folder, followlinks=True):
        new = []
        for name in sorted(folders):
            identity = _identity(Path(place, name))
            if not name.startswith(".") and identity not in seen:
                seen.add(identity)
                new.append(name)
        folders[:] = new
        found += [Path(place, name) for name in sorted(files) if not name.startswith(".")]
    return found


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError:
        return (-1, hash(folder))
    return status.st_dev, status.st_ino


def find_series(files: Iterable[Path]) -> Found:
    """The series that some DICOM files make up. Scouts, reports and the like are left out."""
    slices: list[Slice] = []
    skipped: list[Slice] = []
    for path in files:
        one = examined(path)
        (skipped if NO_SCAN.match(one.storage) else slices).append(one)
    scouts = [s.path for s in slices if "LOCALIZER" in s.kind]
    kept = [s for s in slices if "LOCALIZER" not in s.kind]
    notes = [*_left_out([s.path for s in skipped], "hold no scan (reports and the like)")]
    notes += _left_out(scouts, "are localizers")
    mixed = dict.fromkeys(p for g in _groups(kept).values() for p in _mixed_up(g, kept))
    return Found(series=_grouped(kept), notes=tuple(notes), problems=tuple(mixed))


def _left_out(paths: list[Path], why: str) -> list[str]:
    count = counted(len(paths), "DICOM file")
    return [f"{count} {why} and are left out, such as {paths[0]}"] if paths else []


def _groups(slices: list[Slice]) -> dict[tuple[str, ...], list[Slice]]:
    """Sound files of one series, study and patient; without a UID those of one folder."""
    groups: dict[tuple[str, ...], list[Slice]] = defaultdict(list)
    for one in (s for s in slices if not s.damage):
        place = "" if one.uid else str(one.path.parent)
        groups[one.uid, one.study, one.patient, place].append(one)
    return groups


def _grouped(slices: list[Slice]) -> tuple[Series, ...]:
    """The series of some slices.

    A damaged file stops its own series, or all of its folder if it does not say which it is of.
    """
    groups = _groups(slices)
    problems: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for one in (s for s in slices if s.damage):
        own = [key for key in groups if one.uid and key[0] == one.uid]
        near = [k for k, g in groups.items() if one.path.parent in {s.path.parent for s in g}]
        for key in own or near or [("", "", "", str(one.path.parent))]:
            groups[key], problems[key] = groups[key], [*problems[key], one.damage]
    for key, group in groups.items():
        problems[key] += _mixed_up(group, slices)
    folders = {key: _common_folder(group) or Path(key[3]) for key, group in groups.items()}
    series = []
    for key, group in groups.items():
        folder = folders[key]
        beside = [
            k for k, f in folders.items() if k != key and (folder == f or folder in f.parents)
        ]
        path = folder.with_name(f"{folder.name}#{key[0]}") if beside else folder
        others = [s.number for k in beside if folders[k] == folder for s in groups[k][:1]]
        name = _name(folder, group, others) if beside else folder.name
        series.append(
            Series(path=path, name=name, slices=tuple(group), problems=tuple(problems[key]))
        )
    return tuple(sorted(series, key=lambda s: s.path))


def _name(folder: Path, group: list[Slice], others: Sequence[str]) -> str:
    """``folder_SeriesNumber`` where that tells it from its neighbours, else with the UID."""
    number = group[0].number if group else ""
    plain = re.fullmatch(r"[0-9]{1,12}", number) and number not in others
    return f"{folder.name}_{number if plain else (group[0].uid if group else 'damaged')}"


def _common_folder(slices: list[Slice]) -> Path | None:
    return Path(os.path.commonpath([one.path.parent for one in slices])) if slices else None


def _mixed_up(group: list[Slice], every: list[Slice]) -> list[str]:
    return [*_mixed_patients(group, every), *_shared_uid(group)]


def _mixed_patients(group: list[Slice], every: list[Slice]) -> list[str]:
    """Folders of a series in which files of other patients lie, too."""
    own = {one.path.parent for one in group}
    folders: dict[Path, dict[str, Path]] = defaultdict(dict)
    for one in (s for s in every if s.path.parent in own and not s.damage):
        folders[one.path.parent].setdefault(one.patient, one.path)
    return [
        f"{folder}: holds DICOM files of {len(patients)} patients (PatientID differs), such as "
        f"{' and '.join(path.name for path in list(patients.values())[:2])}. Give every patient "
        "a folder of its own."
        for folder, patients in folders.items()
        if len(patients) > 1
    ]


def _shared_uid(group: list[Slice]) -> list[str]:
    """One UID in several folders whose files are numbered alike: several scans under one name."""
    places: dict[str, dict[Path, tuple[float, ...]]] = defaultdict(dict)
    for one in group:
        if one.instance:
            places[one.instance].setdefault(one.path.parent, one.position)
    for found in places.values():
        if len(set(found.values())) > 1:
            first, second = list(found)[:2]
            return [
                f"{first} and {second}: their DICOM files have one SeriesInstanceUID, but each its "
                "own slice of the same InstanceNumber, so several scans may have been given one "
                "UID. Read the folders one by one, or export the original series."
            ]
    return []
