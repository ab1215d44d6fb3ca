"""Label files that name their classes: one name is one class, whatever its value in each file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simcvd.formats import by_name, segments_of
from simcvd.layouts.records import Source
from simcvd.types import Segment, SimcvdError


def with_own_names(found: Source) -> Source:
    """The source with the classes that its label files name, where any of them does.

    What is wrong with the names becomes a problem of the source.
    """
    labels = [c.label for c in found.cases.values() if c.label and not c.masks]
    named = {label: _segments(label) for label in labels}
    if not any(named.values()):
        return found
    try:
        classes, pairs = by_name(named, found.labels)
    except SimcvdError as error:
        return replace(found, problems=(*found.problems, str(error)))
    cases = {
        name: replace(case, values=pairs.get(case.label, ())) if case.label else case
        for name, case in found.cases.items()
    }
    return replace(found, cases=cases, labels=classes)


def _segments(label: Path) -> tuple[Segment, ...]:
    try:
        return segments_of(label)
    except SimcvdError:
        return ()  # reported with all other problems when the label is read
