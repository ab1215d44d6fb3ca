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
    """A segment, and in which of several layers of one file its voxels lie."""

    named: Segment
    layer: int = 0


def merged(
    path: Path, array: np.ndarray, segments: Sequence[Layered]
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """One label map ``[X, Y, Z]`` of layers ``[X, Y, Z, ...]``, and the names of its values.

    One layer keeps its values; of several, segments are numbered from 1 in the file's order.
    Raises SimcvdError for segments that overlap, since a voxel has one class.
    """
    layers = array.reshape(*array.shape[:3], -1)
    if layers.shape[3] == 1:
        return layers[..., 0], tuple(s.named for s in segments)
    label = np.zeros(layers.shape[:3], np.int32)
    named: list[Segment] = []
    for number, segment in enumerate(segments, start=1):
        if not 0 <= segment.layer < layers.shape[3]:
            raise SimcvdError(f"{path}: segment '{segment.named.name}' lies in no layer there.")
        inside = layers[..., segment.layer] == segment.named.value
        if (taken := label[inside]).any():
            other = named[int(taken[taken > 0][0]) - 1].name
            raise SimcvdError(
                f"{path}: the segments '{other}' and '{segment.named.name}' overlap in "
                f"{np.count_nonzero(taken)} voxels. A voxel has one class: correct the segments."
            )
        label[inside] = number
        named.append(replace(segment.named, value=number))
    return label, tuple(named)


def renumbered(path: Path, label: Volume, classes: Mapping[int, str]) -> Volume:
    """The label with the values that ``classes`` ({value: name}) gives to its segments' names.

    Names are compared without regard to case and to spaces at the ends. A label whose file names
    nothing is returned as it is. Raises SimcvdError for a name that is none of the classes, two
    segments of one name, and voxels of a value that the file does not name.
    """
    if not label.segments:
        return label
    wanted = {name.strip().casefold(): value for value, name in classes.items()}
    table: dict[int, int] = {0: 0}
    for segment in label.segments:
        value = wanted.get(segment.name.strip().casefold())
        if value is None:
            raise SimcvdError(
                f"{path}: holds a segment '{segment.name}', which is none of the classes "
                f"{few(list(classes.values()))}. Rename the segment, or declare the class."
            )
        if value in (v for k, v in table.items() if k) and value:
            raise SimcvdError(f"{path}: holds two segments of the name '{segment.name}'.")
        table[segment.value] = value
    values, places = np.unique(label.array, return_inverse=True)
    if nameless := sorted(set(values.tolist()) - set(table)):
        raise SimcvdError(
            f"{path}: holds voxels of value {few([str(v) for v in nameless])}, which it does not "
            "name. Name that segment, or take it away."
        )
    new = np.array([table[int(v)] for v in values], np.int32)[places].reshape(label.array.shape)
    named = tuple(
        replace(segment, value=table[segment.value], name=classes[table[segment.value]])
        for segment in label.segments
    )
    return replace(label, array=new, segments=named)
