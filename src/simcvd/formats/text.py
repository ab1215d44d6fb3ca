"""What text headers share: they are read here, strictly, and never by ITK.

ITK's own parsers crash on some malformed headers, and open whatever file of the machine a header
names.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from simcvd.types import SimcvdError

# Text headers may hold all the tags of a DICOM file, but are no place for voxels.
LONGEST = 1 << 20


def numbers(path: Path, field: str, text: str, count: int | None = None) -> np.ndarray:
    """The finite numbers of a field, float64, `count` of them if that is given."""
    try:
        values = np.array([float(part) for part in text.split()])
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all() or (count is not None and len(values) != count):
        wanted = f"{count} numbers" if count is not None else "numbers"
        raise SimcvdError(
            f"{path}: its field '{field}' must hold {wanted}, but holds '{text:.60}'."
        )
    return values


def integers(path: Path, field: str, text: str, count: int | None = None) -> tuple[int, ...]:
    """The whole numbers of a field."""
    values = numbers(path, field, text, count)
    if not np.array_equal(values, np.rint(values)) or np.abs(values).max(initial=0) > 2**53:
        raise SimcvdError(f"{path}: its field '{field}' must hold whole numbers, not '{text:.60}'.")
    return tuple(int(value) for value in values)


def beside(header: Path, name: str) -> Path:
    """The data file that a header names, which must lie in the header's folder or below it."""
    folder = header.parent.resolve()
    found = (header.parent / name).resolve()
    if not found.is_relative_to(folder):
        raise SimcvdError(
            f"{header}: names a data file outside its own folder, which is not opened: {name:.80}. "
            "Keep the voxels beside their header."
        )
    if not found.is_file():
        raise SimcvdError(f"{header}: its data file {name:.80} is not there. Copy both files.")
    return header.parent / name


def check_single(path: Path, field: str, before: Container[str]) -> None:
    """Refuse a field that is given twice: programs differ in which of the two they read."""
    if field in before:
        raise SimcvdError(f"{path}: its header gives the field '{field:.40}' twice. Correct it.")


def check_known(path: Path, field: str, known: Iterable[str]) -> None:
    """Refuse a field that is a known one but for one character: its value would be lost."""
    for name in known:
        if len(name) == len(field) and sum(a != b for a, b in zip(name, field, strict=True)) == 1:
            raise SimcvdError(
                f"{path}: its header has a field '{field}', which looks like a damaged '{name}'. "
                "Copy the file again from its origin, or correct the header."
            )
