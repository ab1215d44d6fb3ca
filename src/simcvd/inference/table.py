"""predictions.csv: what was found in each scan, one line a scan."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simcvd.data.objects import pieces
from simcvd.escape import csv_text
from simcvd.files import UTF8, write_text
from simcvd.inference.inputs import Job
from simcvd.inference.known import Usual
from simcvd.inference.model import ModelSpec
from simcvd.types import SimcvdError
from simcvd.wording import few

ABOUT = ("case", "file", "confidence")
MILLILITRES, PIECES = " (ml)", " (pieces)"  # after a class's name
DEVIATION, SHIFT, FLAGS = "volume deviation", "intensity shift", "flags"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A segmented scan: its confidence, the ml of every class 0..K-1, and pieces of 1..K-1.

    shift: of its intensities from those of the labelled scans, as `Usual.shift_of` has it.
    """

    job: Job
    confidence: float | None
    volumes: tuple[float, ...]
    pieces: tuple[int, ...] = ()
    shift: float | None = None


def row_of(
    job: Job,
    spec: ModelSpec,
    labels: np.ndarray,
    voxel_ml: float,
    confidence: float | None,
    scan: np.ndarray,
) -> Row:
    """What was found in a scan. labels: classes ``[X, Y, Z]``. scan: the network's input."""
    counts = np.bincount(labels.ravel(), minlength=spec.classes)
    return Row(
        job=job,
        confidence=confidence,
        volumes=tuple((voxel_ml * counts).tolist()),
        pieces=tuple(pieces(labels, spec.classes - 1)),
        shift=spec.known.usual.shift_of(scan) if spec.known else None,
    )


def removed(spec: ModelSpec) -> str:
    """Which small pieces are removed from all segmentations, in words; "" for none."""
    names = few([spec.class_names[k] for k in spec.largest_only])
    found = "as did better on the scans held out when this model was made"
    return f"of {names} only the largest piece is kept, {found}" if names else ""


def cells(spec: ModelSpec, row: Row) -> dict[str, str]:
    """A row by its columns: case, file, confidence (empty without foreground), then what was found.

    ml and pieces of each class; where the model knows what is usual, the farthest deviation of a
    volume, the shift of intensities, and in words what is unusual.
    """
    found = _cells(spec, row)
    # Through CSV once, so that names are compared as they are written.
    (columns, *_), (values, *_) = (
        _parsed(csv_text([line])) for line in (list(found), list(found.values()))
    )
    return dict(zip(columns, values, strict=True))


def join_rows(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Add rows of `cells` to the CSV, each in place of an earlier one of the same file.

    Rows of earlier calls stay, and so do their columns. They lie in the order of the files' names.
    """
    head, others = read_table(path)
    found = {row["file"]: row for row in [*others, *rows]}
    columns = dict.fromkeys([*head, *(name for row in found.values() for name in row)])
    lines = [[row.get(name, "") for name in columns] for _, row in sorted(found.items())]
    write_text(path, csv_text([list(columns), *lines]))


def _cells(spec: ModelSpec, row: Row) -> dict[str, str]:
    """What stands in a row, by column."""
    classes = range(1, spec.classes)
    confidence = "" if row.confidence is None else f"{row.confidence:.4f}"
    cells = dict(zip(ABOUT, (row.job.name, row.job.target.name, confidence), strict=True))
    cells |= {f"{spec.class_names[k]}{MILLILITRES}": f"{row.volumes[k]:.3f}" for k in classes}
    if row.pieces:
        cells |= {f"{spec.class_names[k]}{PIECES}": str(row.pieces[k - 1]) for k in classes}
    if spec.known is None or row.shift is None:
        return cells
    away = [spec.known.usual.deviation(k, row.volumes[k]) for k in classes]
    known = [one for one in away if one is not None and math.isfinite(one)]
    farthest = max(known, key=abs, default=None)
    deviation = "" if farthest is None else f"{farthest:+.1f}"
    flags = "; ".join(_unusual(spec, spec.known.usual, row))
    return {**cells, DEVIATION: deviation, SHIFT: f"{row.shift:.3f}", FLAGS: flags}


def _unusual(spec: ModelSpec, usual: Usual, row: Row) -> Iterator[str]:
    """What is unlike the labelled scans, a few words each."""
    for k in range(1, spec.classes):
        name, volume = spec.class_names[k], usual.volumes[k - 1]
        if row.volumes[k] == 0 and volume is not None:
            yield f"no {name}"
        elif said := usual.unusual_volume(k, row.volumes[k]):
            yield f"{name} {said}"
        if row.pieces and row.pieces[k - 1] > usual.pieces[k - 1] > 0:
            yield f"{name} in {row.pieces[k - 1]} pieces"
    if row.shift is not None and usual.is_shifted(row.shift):
        yield "intensities unlike those of the labelled scans"


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of the file, none where it is not there.

    Raises SimcvdError for a file that is no such table.
    """
    try:
        head, *rows = _parsed(path.read_text(encoding=UTF8))
    except FileNotFoundError:
        return list(ABOUT), []
    except (OSError, ValueError, csv.Error) as error:
        raise SimcvdError(
            f"{path}: is not a table that simcvd wrote ({error}); move it away"
        ) from error
    if tuple(head[: len(ABOUT)]) != ABOUT:
        raise SimcvdError(f"{path}: does not begin with {', '.join(ABOUT)}; move it away")
    return head, [dict(zip(head, row, strict=False)) for row in rows if len(row) > 1]


def _parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text), strict=True))
