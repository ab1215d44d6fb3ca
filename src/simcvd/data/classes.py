"""Which classes a data set has: those it declares, or those found in its labels."""

from __future__ import annotations

from pathlib import Path

from simcvd.data.cache import read_case
from simcvd.data.cases import label_values_of
from simcvd.files import stats_of
from simcvd.formats import files_of
from simcvd.layouts.records import Source
from simcvd.naming import inside
from simcvd.types import SimcvdError
from simcvd.workers.processes import in_parallel

MAX_CLASSES = 255


def find_classes(found: Source, out: Path, jobs: int | None) -> dict[int, str]:
    """{value: class name}: those declared, else those found in the labels with 0 as background."""
    if found.labels is not None:
        return found.labels
    labels = {name: case.label for name, case in found.cases.items() if case.label}
    known = {n: _known_values(label, inside(out / "cases", n)) for n, label in labels.items()}
    unknown = [labels[name] for name, values in known.items() if values is None]
    results: list[list[int] | str]
    results = [values for values in known.values() if values is not None]
    results += in_parallel(label_values_of, unknown, jobs, "reading labels", quiet=True)
    values = {0}.union(*(r for r in results if not isinstance(r, str)))
    return _named(sorted(values), len(labels), sorted(r for r in results if isinstance(r, str)))


def _named(values: list[int], labeled: int, unreadable: list[str]) -> dict[int, str]:
    if values[0] < 0 or len(values) > MAX_CLASSES:
        raise SimcvdError(
            f"the labels hold {len(values)} values, from {values[0]} to {values[-1]}; label maps "
            f"have 2 to {MAX_CLASSES} values, none below 0. Are these label maps?"
        )
    if len(values) < 2:
        raise SimcvdError(
            f"{labeled} label files were found, and no foreground in them, so there is nothing "
            f"to learn. Label at least one scan. {' '.join(unreadable)}".rstrip()
        )
    return {value: f"class {value}" if value else "background" for value in values}


def _known_values(label: Path, folder: Path) -> list[int] | None:
    """The values noted when this very label file was prepared last, else None."""
    try:
        info = read_case(folder)
        known = info.sources.label
        same = known is not None and known.stat == stats_of(files_of(label))
        return list(info.label_found) if same and info.label_found is not None else None
    except (SimcvdError, OSError):
        return None
