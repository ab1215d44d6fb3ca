"""What a file format is to the rest of the project.

A new format is one module that holds a `Format`, and its line in `simcvd.formats.table`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simcvd.formats.packed import Block
from simcvd.types import Segment

What = Literal["image", "label"]
Severity = Literal["error", "warning"]
Remark = tuple[Severity, Literal["axes", "orientation", "left-right"], str]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of its voxels, none of which has been read yet.

    shape: X, Y, Z and whatever axes follow. dtype: as stored. affine: ``[4, 4]``, RAS+ mm.
    block: where the voxels lie, or None where the format reads them by its own means.
    floats: whether values are stored as floats, or as integers with a scale factor.
    colour: whether a voxel is a colour. partial: whether a label map covers only the box that it
    needs, background being all around it. segments: the names that a label file gives its values.
    remarks: contradictions within the header. notes: what had to be put right.
    source: whatever else the format's reader wants to keep.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    affine: np.ndarray
    block: Block | None = None
    floats: bool = False
    colour: bool = False
    partial: bool = False
    modality: str = ""
    segments: tuple[Segment, ...] = ()
    remarks: tuple[Remark, ...] = ()
    notes: tuple[str, ...] = ()
    source: Any = None

    def files(self, path: Path) -> list[Path]:
        """The file at ``path``, whose header this is, and those that hold its voxels."""
        return (
            [path, *(file for file in self.block.files if file != path)] if self.block else [path]
        )


@dataclass(frozen=True, kw_only=True)
class Voxels:
    """An array ``[X, Y, Z, ...]`` with what reading it changed in the header's statements."""

    array: np.ndarray
    affine: np.ndarray
    notes: tuple[str, ...] = ()


# write(path, labels [X, Y, Z] with the file's values, affine RAS+, {value: class name})
Write = Callable[[Path, np.ndarray, np.ndarray, Mapping[int, str]], None]


def itself(path: Path) -> list[Path]:
    """The files behind most paths."""
    return [path]


def nothing(path: Path) -> bool:
    """For formats that are told by their suffix alone."""
    return False


@dataclass(frozen=True, kw_only=True)
class Format:
    """One file format.

    key: its name on the command line. suffixes: of the file that names a scan, lower case.
    header: reads a header. voxels: reads the array that an accepted header announces.
    recognises: tells by content what no suffix tells. files: every file behind a path, the one
    that was named first. answer: the key of the format in which predictions for its scans are
    given, its own by default. endings: of files that can be written in it, the usual one first.
    writer: makes ready to write labels in it that overlay a scan (None: no scan in particular);
    raises SimcvdError where that scan does not allow it. needs_own: whether it answers only scans
    whose own answer it is. mendable: whether `simcvd check --fix` may write a copy of such a file.
    names_classes: whether a label file of this format may name its values.
    """

    key: str
    header: Callable[[Path, What], Header]
    voxels: Callable[[Path, Header], Voxels]
    suffixes: tuple[str, ...] = ()
    recognises: Callable[[Path], bool] = nothing
    files: Callable[[Path], list[Path]] = itself
    answer: str = ""
    endings: tuple[str, ...] = ()
    writer: Callable[[Path | None], Write] | None = None
    needs_own: bool = False
    mendable: bool = True
    names_classes: bool = False

    @property
    def ending(self) -> str:
        """Of the files that are written in it, unless another is asked for."""
        return self.endings[0]
