"""Label files that name their classes: layers put into one map, and classes told by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simcvd.types import Segment, SimcvdError, Volume
from simcvd.wording import few


@dataclass(frozen=True, kw_only=True)
class Layered:
    """A segment, and the value that it has in one of several layers of its file."""

    named: Segment
    layer: int
    stored: int


def numbered(segments: Sequence[Layered], layers: int) -> tuple[Layered, ...]:
    """Segments of one layer keep their values; those of several are numbered from 1, in order."""
    if layers == 1:
        return tuple(segments)
    return tuple(
        replace(segment, named=replace(segment.named, value=number))
        for number, segment in enumerate(segments, start=1)
    )


def merged(path: Path, array: np.ndarray, segments: Sequence[Layered]) -> np.ndarray:
    """One label map ``[X, Y, Z]`` of layers ``[X, Y, Z, ...]``, with the values of `numbered`.

    Raises SimcvdError for segments that overlap, since a voxel has one class.
    """
    layers = array.reshape(*array.shape[:3], -1)
    if layers.shape[3] == 1:
        return layers[..., 0]
    label = np.zeros(layers.shape[:3], np.int32)
    for segment in segments:
        if not 0 <= segment.layer < layers.shape[3]:
            raise SimcvdError(f"{path}: segment '{segment.named.name}' lies in no layer there.")
        inside = layers[..., segment.layer] == segment.stored
        if (taken := label[inside]).any():
            other = segments[int(taken[taken > 0][0]) - 1].named.name
            raise SimcvdError(
                f"{path}: the segments '{other}' and '{segment.named.name}' overlap in "
                f"{np.count_nonzero(taken)} voxels. A voxel has one class: correct the segments."
            )
        label[inside] = segment.named.value
    return label


def by_name(
    named: Mapping[Path, Sequence[Segment]], declared: Mapping[int, str] | None = None
) -> tuple[dict[int, str], dict[Path, tuple[tuple[int, int], ...]]]:
    """The classes of label files that name theirs, each of one name one class whatever its value.

    named: the segments of every label file. declared: {value: class} where the data set says them;
    else names that have one value in all files keep it, and otherwise classes are numbered from 1
    in the order in which their names are met. Names are compared without regard to case and to
    spaces at the ends.
    Returns {value: class}, and by file the pairs (value in the file, value of the class), 0 apart.
    Raises SimcvdError for a name that is not declared, two segments of one name in one file, and a
    file without names among files that number one name differently.
    """
    classes = dict(declared) if declared else _numbered(named)
    values = {_folded(name): value for value, name in classes.items()}
    pairs = {path: _pairs(path, found, values) for path, found in named.items() if found}
    nameless = [path for path, found in named.items() if not found]
    if nameless and any(old != new for found in pairs.values() for old, new in found):
        raise SimcvdError(
            f"{nameless[0]}: does not name its classes, while other labels do and give one name "
            "different values, so its values mean nothing. Store it with the names, or make all "
            "labels agree."
        )
    return classes, pairs


def _numbered(named: Mapping[Path, Sequence[Segment]]) -> dict[int, str]:
    names: dict[str, str] = {}
    values: dict[str, set[int]] = {}
    for found in named.values():
        for segment in found:
            names.setdefault(_folded(segment.name), segment.name.strip())
            values.setdefault(_folded(segment.name), set()).add(segment.value)
    taken = [value for found in values.values() for value in found]
    if len(set(taken)) == len(taken) and 0 not in taken:
        return {0: "background", **{min(v): names[name] for name, v in values.items()}}
    return {0: "background", **dict(enumerate(names.values(), start=1))}


def _pairs(
    path: Path, found: Sequence[Segment], values: Mapping[str, int]
) -> tuple[tuple[int, int], ...]:
    folded = [_folded(segment.name) for segment in found]
    if doubled := [s.name for s in found if folded.count(_folded(s.name)) > 1]:
        raise SimcvdError(
            f"{path}: has several segments called '{doubled[0]}'. Rename or join them."
        )
    if strange := [s.name for s in found if _folded(s.name) not in values]:
        raise SimcvdError(
            f"{path}: has a segment '{strange[0]}', which is none of the classes "
            f"{few(list(values))}. Rename the segment, or declare the class."
        )
    return tuple((s.value, values[name]) for s, name in zip(found, folded, strict=True))


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def revalued(path: Path, label: Volume, values: Sequence[tuple[int, int]]) -> Volume:
    """The label with each value of the file replaced by that of its class, as `by_name` pairs them.

    Raises SimcvdError for voxels of a value that the file does not name.
    """
    table = {0: 0, **dict(values)}
    found, places = np.unique(label.array, return_inverse=True)
    if nameless := [str(v) for v in found.tolist() if v not in table]:
        raise SimcvdError(
            f"{path}: holds voxels of value {few(nameless)}, which it does not name. Name that "
            "segment, or take it away."
        )
    new = np.array([table[int(v)] for v in found], np.int32)[places]
    segments = tuple(replace(s, value=table.get(s.value, s.value)) for s in label.segments)
    return replace(label, array=new.reshape(label.array.shape), segments=segments)
