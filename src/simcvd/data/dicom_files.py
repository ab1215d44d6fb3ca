"""Which DICOM files make up which series, wherever they lie below a folder.

A series is named by a path: its folder if nothing else lies there, else
``folder#UID`` with its SeriesInstanceUID.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from simcvd.types import SimcvdError

SUFFIXES = (".dcm", ".ima", ".dicom")
# Storage classes that hold no scan: reports, presentation states, documents, raw data,
# registrations, segmentations, surfaces, waveforms, radiotherapy objects (PS3.4, annex B).
NO_SCAN = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(4\.2|9|11|66|67|68|88|104|481)(\.|$)")
ADDRESS = re.compile(r"#([0-9.]*)$")


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One file's tags. position, orientation: mm, LPS; spacing: mm between rows, columns."""

    path: Path
    uid: str
    patient: str
    number: str
    syntax: str
    kind: tuple[str, ...]
    size: tuple[str, str]
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    colour: bool
    frames: int
    modality: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """The slices of one series and patient, in the order of their file names."""

    path: Path
    slices: tuple[Slice, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The series below a folder. notes: what was left out. problems: what must be mended."""

    series: tuple[Series, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """Whether a file says so by its ending or by the mark that DICOM files bear."""
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def split_address(path: Path) -> tuple[Path, str | None]:
    """Folder and SeriesInstanceUID of ``folder#UID``; a plain path has None."""
    match = ADDRESS.search(path.name)
    if match is None or path.exists():
        return path, None
    return path.with_name(path.name[: match.start()]), match[1]


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted, hidden files and folders left out."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in sorted(files) if not name.startswith(".")]
    return found


def find_series(files: Iterable[Path]) -> Found:
    """The series that some DICOM files make up. Scouts, reports and the like are left out."""
    slices, skipped, problems = [], [], []
    for path in files:
        try:
            if NO_SCAN.match(file_meta(path).get((2, 2), "")):
                skipped.append(path)
            else:
                slices.append(read_tags(path))
        except SimcvdError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{path}: cannot be opened ({error.strerror}). Mend its rights.")
    scouts = [s.path for s in slices if "LOCALIZER" in s.kind]
    kept = [s for s in slices if "LOCALIZER" not in s.kind]
    notes = [*_left_out(skipped, "hold no scan (reports and the like)")]
    notes += _left_out(scouts, "are localizers")
    return Found(
        series=_grouped(kept),
        notes=tuple(notes),
        problems=tuple(problems + _mixed_patients(kept)),
    )


def _left_out(paths: list[Path], why: str) -> list[str]:
    count = f"{len(paths)} DICOM files" if len(paths) > 1 else "1 DICOM file"
    return [f"{count} {why} and are left out, such as {paths[0]}"] if paths else []


def _grouped(slices: list[Slice]) -> tuple[Series, ...]:
    groups: dict[tuple[str, str], list[Slice]] = {}
    for one in slices:
        groups.setdefault((one.uid, one.patient), []).append(one)
    folders = {key: _common_folder(group) for key, group in groups.items()}
    series = []
    for key, group in groups.items():
        folder = folders[key]
        shared = any(folder == f or folder in f.parents for k, f in folders.items() if k != key)
        path = folder.with_name(f"{folder.name}#{key[0]}") if shared else folder
        series.append(Series(path=path, slices=tuple(group)))
    return tuple(sorted(series, key=lambda s: s.path))


def _common_folder(slices: list[Slice]) -> Path:
    return Path(os.path.commonpath([one.path.parent for one in slices]))


def _mixed_patients(slices: list[Slice]) -> list[str]:
    folders: dict[Path, dict[str, Path]] = {}
    for one in slices:
        folders.setdefault(one.path.parent, {}).setdefault(one.patient, one.path)
    return [
        f"{folder}: holds DICOM files of {len(patients)} patients (PatientID differs), such as "
        f"{' and '.join(path.name for path in list(patients.values())[:2])}. Give every patient "
        "a folder of its own."
        for folder, patients in folders.items()
        if len(patients) > 1
    ]


def read_tags(path: Path) -> Slice:
    """The tags of one file. Raises SimcvdError if it is damaged or encoded in an unknown way."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        syntax = file_meta(path).get((2, 0x10), "not stated")
        raise SimcvdError(
            f"{path}: cannot be read as DICOM. The file is {path.stat().st_size} bytes, its "
            f"transfer syntax {syntax}; it may be truncated, no image, or of a kind too new. "
            "Copy it again from its origin, take it away, or convert the series to NIfTI."
        ) from error

    def tag(name: str) -> str:
        return reader.GetMetaData(name).strip(" \0") if reader.HasMetaDataKey(name) else ""

    return Slice(
        path=path,
        uid=tag("0020|000e"),
        patient=tag("0010|0020"),
        number=tag("0020|0011"),
        syntax=file_meta(path).get((2, 0x10), ""),
        kind=tuple(part.strip() for part in tag("0008|0008").upper().split("\\")),
        size=(tag("0028|0010"), tag("0028|0011")),
        position=_numbers(tag("0020|0032"), 3),
        orientation=_numbers(tag("0020|0037"), 6),
        spacing=_numbers(tag("0028|0030"), 2),
        colour=not tag("0028|0004").startswith("MONOCHROME"),
        frames=int(tag("0028|0008") or 1),
        modality=tag("0008|0060"),
    )


def _numbers(text: str, count: int) -> tuple[float, ...]:
    """The numbers of a tag, or none of them if it is absent or incomplete."""
    try:
        values = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return ()
    return values if len(values) == count else ()


def file_meta(path: Path) -> dict[tuple[int, int], str]:
    """Group 2 of a DICOM file as {(group, element): text}; it is always explicit little endian.

    It says, also for files that no library here can open, what kind of object they hold
    (0002,0002) and how it is encoded (0002,0010).
    """
    with path.open("rb") as file:
        data = file.read(4096)
    found: dict[tuple[int, int], str] = {}
    at = 132 if data[128:132] == b"DICM" else len(data)
    while data[at : at + 2] == b"\x02\x00":
        element = int.from_bytes(data[at + 2 : at + 4], "little")
        long = data[at + 4 : at + 6] in (b"OB", b"UN", b"UT")
        start = at + (12 if long else 8)
        length = int.from_bytes(data[start - (4 if long else 2) : start], "little")
        found[2, element] = data[start : start + length].decode("latin-1").strip(" \0")
        at = start + length
    return found
