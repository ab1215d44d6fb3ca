"""One case of the cache: whether it is up to date, and how it is made."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.data.cache import read_case
from simcvd.data.crop import crop_box, cropped, stored_like
from simcvd.data.objects import lost
from simcvd.data.preprocess import label_to_network, to_network
from simcvd.data.reading import label_on_scan, read_case_label, read_channels
from simcvd.data.record import CASE, CaseRecord, LabelFile, SourceFile, Sources
from simcvd.distance import signed_distance
from simcvd.files import (
    CannotWrite,
    checksum,
    json_hash,
    replace_into,
    sealed,
    stats_of,
    write_json,
)
from simcvd.formats import files_of, format_of, read_label, spacing_of
from simcvd.layouts.records import SourceCase
from simcvd.preprocessing import Preprocessing
from simcvd.records import as_json
from simcvd.types import SimcvdError, Volume
from simcvd.wording import by

# EFBIG is what a quota on file size gives.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One case to be made. label_values, class_names: value and name of class 0, 1, ... K-1."""

    case: SourceCase
    preprocessing: Preprocessing
    channels: int
    label_values: tuple[int, ...]
    folder: Path
    class_names: tuple[str, ...] = ()

    @property
    def recipe(self) -> dict[str, Any]:
        """All settings the result depends on. Labels play no part in an unlabelled scan's."""
        labels = list(self.label_values) if self.case.label else None
        # Named where it holds alone: what was prepared before there was a choice stays current.
        also: dict[str, Any] = {}
        if labels and self.case.resample_label:
            also["resample_label"] = True
        if labels and (moved := [list(v) for v in self.case.values if v[0] != v[1]]):
            also["values"] = moved
        return {
            "format": CASE.format,
            "preprocessing": as_json(self.preprocessing),
            "channels": self.channels,
            "label_values": labels,
            **also,
        }


def current(folder: Path, job: Job) -> CaseRecord | None:
    """The case.json of `folder` if it was made by this recipe from these files, else None.

    Files that nobody touched since (`stat_of`) are taken for unchanged; others are hashed. Arrays
    that are not as they were written are made again.
    """
    try:
        info = read_case(folder)
        sizes = {name: (folder / name).stat().st_size for name in info.files}
        if sizes != info.files or not _as_written(folder, info):
            return None
        sources = source_records(job.case, info.sources)
        if info.hash != case_hash(job.recipe, sources):
            return None
        if sources != info.sources:
            info = replace(info, sources=sources)
            write_json(folder / "case.json", sealed(CASE.content(info)))
    except (SimcvdError, OSError):
        return None
    return info


def _as_written(folder: Path, info: CaseRecord) -> bool:
    """Whether the arrays have their checksums; true where none were noted (older caches)."""
    return all(checksum(folder / name) == one for name, one in (info.checksums or {}).items())


def source_records(case: SourceCase, known: Sources | None = None) -> Sources:
    """Path, size, time and SHA-256 of every file of a case, reusing the hashes in `known`.

    Those of all files behind a path, every slice of a series among them.
    """
    old = [one for one in (*known.images, known.label) if one] if known else []
    hashes = {one.stat: one.sha256 for one in old}
    label = _label_files(case)
    return Sources(
        images=tuple(_record(path, files, hashes) for path, files in _image_files(case)),
        label=_record(case.label, label, hashes) if case.label else None,
    )


def touched(case: SourceCase) -> list[str]:
    """`stats_of` the files behind each scan and label of a case; raises OSError for a lost one."""
    files = [*(files for _, files in _image_files(case)), _label_files(case)]
    return [stats_of(each) for each in files if each]


def _image_files(case: SourceCase) -> list[tuple[Path, list[Path]]]:
    """All files of a series together; else each by itself, a header's detached voxels too."""
    found = []
    for image in case.images:
        files = files_of(image)
        each = [(file, [file]) for file in files]
        found += each if format_of(image).suffixes else [(image, files)]
    return found


def _label_files(case: SourceCase) -> list[Path]:
    if case.label is None:
        return []
    return [path for _, path in case.masks] or files_of(case.label)


def case_hash(recipe: dict[str, Any], sources: Sources) -> str:
    """SHA-256 of a recipe and the contents of the files; not of their paths or dates."""
    label = sources.label.sha256 if sources.label else None
    return json_hash([recipe, [image.sha256 for image in sources.images], label])


def _record(path: Path, files: list[Path], hashes: dict[str, str]) -> SourceFile:
    stat = stats_of(files)  # before the bytes: what is touched meanwhile is hashed again next time
    sizes = [file.stat() for file in files]
    if stat not in hashes:
        each = [_hashed(file) for file in files]
        hashes[stat] = each[0] if len(each) == 1 else json_hash(each)
    return SourceFile(
        path=str(path.resolve()),
        size=sum(s.st_size for s in sizes),
        mtime_ns=max(s.st_mtime_ns for s in sizes),
        stat=stat,
        sha256=hashes[stat],
    )


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def label_values_of(path: Path) -> list[int] | str:
    """The distinct values of a label file, or why it cannot be read."""
    try:
        return [int(value) for value in np.unique(read_label(path).array)]
    except SimcvdError as error:
        return str(error)


def prepare_case(job: Job) -> list[str]:
    """Make the case's folder, whole or not at all. Returns the problems of its files.

    Raises SimcvdError if the disk is full.
    """
    problems: list[str] = []
    image, label, before = None, None, None
    with suppress(OSError, SimcvdError):  # which reading will tell better
        before = touched(job.case)
    with _collected(problems):
        image = read_channels(job.case.images, job.channels)
    if job.case.label:
        with _collected(problems):
            label = read_case_label(job.case)
    if image and label:
        with _collected(problems):
            label = label_on_scan(job.case, image, label)
    if label and job.case.label:
        problems += _value_problems(job.case.label, label, job.label_values)
    problems += _crop_problems(job, label)
    if image is None or problems:
        return problems
    with _collected(problems):
        sources = source_records(job.case)
        if touched(job.case) != before:
            raise SimcvdError(f"{job.case.images[0]}: changed while it was read. Prepare again.")
        _write_case(job, image, label, sources)
    return problems


@contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except CannotWrite:
        raise
    except SimcvdError as error:
        problems.append(str(error))
    except OSError as error:  # a file that went away meanwhile
        problems.append(f"{error.filename}: cannot be read ({error.strerror}).")


def cannot_write(place: Path, error: OSError) -> CannotWrite:
    """What stops all of `prepare`, unlike the problems of one case."""
    what = "the disk is full" if error.errno in DISK_FULL else "cannot be written"
    return CannotWrite(
        f"{place}: {what} ({error.strerror or error}). What was prepared before is whole and "
        "is kept. Make room or correct the folder's permissions, then re-run the same command."
    )


def _crop_problems(job: Job, label: Volume | None) -> list[str]:
    if job.preprocessing.crop != "label":
        return []
    if job.case.label is None:
        found = f"{job.case.images[0]}: has no label to be cropped by. Label it"
    elif label is not None and not (label.array != job.label_values[0]).any():
        found = f"{job.case.label}: holds background only, so it crops nothing. Correct it"
    else:
        return []
    return [f"{found}, take the scan out, or prepare without --crop label."]


def _value_problems(path: Path, label: Volume, values: tuple[int, ...]) -> list[str]:
    found, counts = np.unique(label.array, return_counts=True)
    strange = [
        f"{value} ({count} voxels)"
        for value, count in zip(found, counts, strict=True)
        if value not in values
    ]
    if not strange:
        return []
    return [
        f"{path}: holds label values that are not declared: {', '.join(strange[:5])}. Declared "
        f"are {', '.join(map(str, values))}. Declare them, or correct the label map."
    ]


def _write_case(job: Job, image: Volume, label: Volume | None, sources: Sources) -> None:
    label = None if label is None else stored_like(label, image)
    box = crop_box(image, job.preprocessing, _foreground(job, label))
    prepared = to_network(cropped(image, box), job.preprocessing)
    arrays = {"image.npy": _float16(job.case.images[0], prepared.array)}
    losses: list[str] = []
    if label is not None:
        part = label_to_network(cropped(label, box), job.preprocessing)
        classes = _classes(part, job.label_values)
        losses = _losses(job, cropped(label, box), part)
        arrays["label.npy"] = classes
        arrays["distance.npy"] = signed_distance(classes, len(job.label_values)).astype(np.float16)
    x, y, z = ((side.start, side.stop) for side in box)
    info = CaseRecord(
        name=job.case.name,
        hash=case_hash(job.recipe, sources),
        recipe=job.recipe,
        sources=sources,
        source_shape=image.size,
        source_affine=image.affine.tolist(),
        box=(x, y, z),
        shape=prepared.size,
        affine=prepared.affine.tolist(),
        spacing=spacing_of(prepared.affine),
        notes=(*image.notes, *(label.notes if label else ()), *losses),
        patient=job.case.patient,
        label=LabelFile.of(job.case),
        label_found=None if label is None else tuple(np.unique(label.array).tolist()),
        files={},
    )
    _write_folder(job.folder, arrays, info)


def _losses(job: Job, label: Volume, resampled: Volume) -> list[str]:
    """What the label loses on the network's grid."""
    names = dict(zip(job.label_values, job.class_names, strict=False))
    spacing = by(spacing_of(resampled.affine))
    return [
        f"{job.case.label}: on a grid of {spacing} mm, {loss}"
        for loss in lost(label, resampled, names)
    ]


def _foreground(job: Job, label: Volume | None) -> Volume | None:
    if label is None or job.preprocessing.crop != "label":
        return None
    return replace(label, array=label.array != job.label_values[0])


def _float16(path: Path, array: np.ndarray) -> np.ndarray:
    largest = float(np.abs(array).max())
    if largest > FLOAT16_MAX:
        raise SimcvdError(
            f"{path}: holds values up to {largest:g}; without normalisation the cache keeps up "
            f"to {FLOAT16_MAX:g}. Prepare with normalization 'zscore' or 'ct'."
        )
    return array.astype(np.float16)


def _classes(label: Volume, values: tuple[int, ...]) -> np.ndarray:
    """Values of the file to class indices 0..K-1; `values` is sorted and holds them all."""
    return np.searchsorted(values, label.array).astype(np.uint8)


def _write_folder(folder: Path, arrays: dict[str, np.ndarray], info: CaseRecord) -> None:
    """The folder exists only when it is whole; one that waited, of other settings, makes way."""
    try:
        with replace_into(folder) as temporary:
            temporary.mkdir()
            for name, array in arrays.items():
                _save(temporary / name, array)
            paths = {name: temporary / name for name in arrays}
            record = replace(
                info,
                files={name: path.stat().st_size for name, path in paths.items()},
                checksums={name: checksum(path) for name, path in paths.items()},
            )
            write_json(temporary / "case.json", sealed(CASE.content(record)))
    except CannotWrite as error:
        cause: BaseException | None = error
        while isinstance(cause, CannotWrite):  # of the folder, because of case.json in it
            cause = cause.__cause__
        raise cannot_write(folder, cause if isinstance(cause, OSError) else OSError()) from error


def _save(path: Path, array: np.ndarray) -> None:
    """As numpy.save, but with plain writes: numpy's own hide that the disk is full."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data.cast("B"))
