"""predictions.csv: what was found in each scan, one line a scan."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simcvd.files import write_text
from simcvd.inference.inputs import Job
from simcvd.inference.model import ModelSpec


@dataclass(frozen=True, kw_only=True)
class Row:
    """A segmented scan: its confidence, and the ml of every class 0..K-1."""

    job: Job
    confidence: float | None
    volumes: tuple[float, ...]


def write_table(path: Path, spec: ModelSpec, rows: Sequence[Row]) -> None:
    """Write the rows as CSV: case, file, confidence (empty without foreground), ml a class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = range(1, spec.classes)
    names = [f"{spec.class_names[k]} (ml)" for k in classes]
    writer.writerow(["case", "file", "confidence", *names])
    for row in rows:
        confidence = "" if row.confidence is None else f"{row.confidence:.4f}"
        volumes = [f"{row.volumes[k]:.3f}" for k in classes]
        writer.writerow([row.job.name, row.job.target.name, confidence, *volumes])
    write_text(path, text.getvalue())
