"""The tags of one DICOM file, whatever state it is in."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcvd.formats.packed import MOST
from simcvd.types import SimcvdError

TAGS = (
    *("SOPClassUID", "ImageType", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SeriesNumber", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing"),
)


# Of pydicom's: 84 a frame of a segmentation whose sequences are walked through, 72 a single slice.
MOST_READS = 3_000_000
# A file without preamble begins with one of these groups, little endian.
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One file's tags. position, orientation: mm, LPS; spacing: mm between rows, columns.

    storage: the SOP class. damage: why the file cannot be a part of any scan, or "".
    """

    path: Path
    storage: str = ""
    uid: str = ""
    study: str = ""
    patient: str = ""
    number: str = ""
    instance: str = ""
    syntax: str = ""
    kind: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)
    position: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    spacing: tuple[float, ...] = ()
    colour: bool = False
    frames: int = 1
    modality: str = ""
    damage: str = ""


def read_tags(path: Path) -> Slice:
    """The tags of one file. Raises SimcvdError if it is damaged."""
    one = examined(path)
    if one.damage:
        raise SimcvdError(one.damage)
    return one


def examined(path: Path) -> Slice:
    """The tags of one file, as far as they can be read; what it lacks stands in ``damage``."""
    try:
        with quiet():
            return _slice(path, dataset(path, TAGS))
    except OSError as error:
        reason = f"{path}: cannot be opened ({error.strerror}). Correct its access rights."
        return Slice(path=path, damage=reason)
    except Exception:  # pydicom raises what it likes of a damaged file
        return Slice(path=path, storage=file_meta(path).get((2, 2), ""), damage=_damage(path))


def _slice(path: Path, tags: Any) -> Slice:
    def tag(name: str) -> str:
        try:
            return str(tags.get(name, "") or "").strip(" \0")
        except Exception:  # values are decoded here, and may be of the wrong kind
            return ""

    rows, columns, frames = (_whole(tag(n)) for n in ("Rows", "Columns", "NumberOfFrames"))
    return Slice(
        path=path,
        storage=file_meta(path).get((2, 2)) or tag("SOPClassUID"),
        uid=_uid(tag("SeriesInstanceUID")),
        study=tag("StudyInstanceUID"),
        patient=tag("PatientID"),
        number=tag("SeriesNumber"),
        instance=tag("InstanceNumber"),
        syntax=str(tags.file_meta.get("TransferSyntaxUID", "")),
        kind=tuple(part.strip() for part in _parts(tags, "ImageType")),
        size=(rows, columns),
        position=_numbers(tags, "ImagePositionPatient", 3),
        orientation=_numbers(tags, "ImageOrientationPatient", 6),
        spacing=_numbers(tags, "PixelSpacing", 2),
        colour=not tag("PhotometricInterpretation").startswith("MONOCHROME"),
        frames=max(frames, 1),
        modality=tag("Modality"),
        damage="" if rows and columns else _damage(path),
    )


def dataset(path: Path, tags: Sequence[str] | None = None) -> Any:
    """pydicom's data set of a file, with or without preamble; given tags alone, no voxels.

    Raises whatever pydicom raises.
    """
    import pydicom

    _check_deflated(path)
    with quiet(), _Bounded(path) as file:
        found = pydicom.dcmread(
            file,
            force=True,
            stop_before_pixels=tags is not None,
            specific_tags=None if tags is None else list(tags),
        )
    if not hasattr(found, "file_meta"):
        found.file_meta = pydicom.dataset.FileMetaDataset()
    return found


class _Bounded(io.BufferedReader):
    """A file that is not read without end: 100 GB of zeros are 10 thousand million empty tags."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises ValueError once there were more tags than any scan has."""
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"more than {MOST_READS} reads of tags")
        return super().read(size)


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom warns of every value that is not by the book; what matters is said by simcvd."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_deflated(path: Path) -> None:
    """A deflated data set is unpacked as a whole, and may grow a thousandfold."""
    size = path.stat().st_size
    deflated = file_meta(path).get((2, 0x10)) == "1.2.840.10008.1.2.1.99"
    if deflated and size * MOST["gzip"] > 1 << 32:
        raise SimcvdError(
            f"{path}: is one deflated DICOM file of {size} bytes, which may unpack to more than "
            "4 GB. Store it without compression."
        )


def _damage(path: Path) -> str:
    syntax = file_meta(path).get((2, 0x10), "not stated")
    return (
        f"{path}: cannot be read as DICOM. The file is {path.stat().st_size} bytes, its "
        f"transfer syntax {syntax:.64}; it may be truncated, no image, or of a kind too new. "
        "Copy it again from its origin, take it away, or convert the series to NIfTI."
    )


def _uid(text: str) -> str:
    """A UID as the standard has it, or none: it becomes part of addresses and names."""
    return text if re.fullmatch(r"[0-9.]{1,64}", text) else ""


def _whole(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0


def _parts(tags: Any, name: str) -> list[str]:
    try:
        value = tags.get(name) or ()
        return [str(v).upper() for v in ([value] if isinstance(value, str) else value)]
    except Exception:
        return []


def _numbers(tags: Any, name: str, count: int) -> tuple[float, ...]:
    """The numbers of a tag, or none of them if it is absent, incomplete or not finite."""
    try:
        values = tuple(float(part) for part in tags.get(name) or ())
    except Exception:
        return ()
    return values if len(values) == count and all(map(math.isfinite, values)) else ()


def storage_class(path: Path) -> str:
    """The SOP class of a file, by its group 2, else as its data set says; "" for none."""
    meta = file_meta(path)
    if (2, 2) in meta or not is_marked(path):
        return meta.get((2, 2), "")
    try:
        return str(dataset(path, ("SOPClassUID",)).get("SOPClassUID", ""))
    except Exception:
        return ""


def is_marked(path: Path) -> bool:
    """Whether a file bears DICOM's mark, or begins with a short element of a first group."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    length = int.from_bytes(start[6:8] if explicit else start[4:8], "little")
    bare = start[:2] in FIRST_GROUPS and start[3:4] == b"\0" and length % 2 == 0 and length < 1024
    return start[128:] == b"DICM" or (len(start) == 132 and bare)


def file_meta(path: Path) -> dict[tuple[int, int], str]:
    """Group 2 of a DICOM file as {(group, element): text}; it is always explicit little endian.

    It says, also for files that no library here can open, what kind of object they hold
    (0002,0002) and how it is encoded (0002,0010).
    """
    try:
        with path.open("rb") as file:
            data = file.read(4096)
    except OSError:
        return {}
    found: dict[tuple[int, int], str] = {}
    at = 132 if data[128:132] == b"DICM" else 0
    while data[at : at + 2] == b"\x02\x00":
        element = int.from_bytes(data[at + 2 : at + 4], "little")
        long = data[at + 4 : at + 6] in (b"OB", b"UN", b"UT")
        start = at + (12 if long else 8)
        length = int.from_bytes(data[start - (4 if long else 2) : start], "little")
        found[2, element] = data[start : start + length].decode("latin-1").strip(" \0")
        at = start + length
    return found
