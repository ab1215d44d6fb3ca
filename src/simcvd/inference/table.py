"""predictions.csv: what was found in each scan, one line a scan."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from simcvd.escape import csv_text
from simcvd.files import write_text
from simcvd.inference.inputs import Job
from simcvd.inference.model import ModelSpec
from simcvd.types import SimcvdError

ABOUT = ("case", "file", "confidence")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A segmented scan: its confidence, and the ml of every class 0..K-1."""

    job: Job
    confidence: float | None
    volumes: tuple[float, ...]


def add_row(path: Path, spec: ModelSpec, row: Row) -> None:
    """Add a row to the CSV: case, file, confidence (empty without foreground), ml of each class.

    Rows of earlier calls stay, and so do their columns; an earlier one of the same file goes. They
    lie in the order of the files' names.
    """
    head, rows = read_table(path)
    names = [f"{spec.class_names[k]} (ml)" for k in range(1, spec.classes)]
    confidence = "" if row.confidence is None else f"{row.confidence:.4f}"
    cells = [row.job.name, row.job.target.name, confidence]
    cells += [f"{row.volumes[k]:.3f}" for k in range(1, spec.classes)]
    # Through CSV once, so that names are compared as they are written.
    (columns, *_), (values, *_) = _parsed(csv_text([(*ABOUT, *names)])), _parsed(csv_text([cells]))
    new = dict(zip(columns, values, strict=True))
    others = [old for old in rows if old["file"] != new["file"]]
    rows = sorted([*others, new], key=lambda one: one["file"])  # the same, whichever came first
    head = [*head, *(name for name in columns if name not in head)]
    write_text(path, csv_text([head, *([one.get(name, "") for name in head] for one in rows)]))


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of the file, none where it is not there.

    Raises SimcvdError for a file that is no such table.
    """
    try:
        head, *rows = _parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return list(ABOUT), []
    except (OSError, ValueError, csv.Error) as error:
        raise SimcvdError(f"{path}: is no table of ours ({error}); move it away") from error
    if tuple(head[: len(ABOUT)]) != ABOUT:
        raise SimcvdError(f"{path}: does not begin with {', '.join(ABOUT)}; move it away")
    return head, [dict(zip(head, row, strict=False)) for row in rows if len(row) > 1]


def _parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text), strict=True))
