"""Label maps drawn in review: one file a scan, called as the scan, in the data set's values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simcvd.formats import stem_of, suffix_of
from simcvd.layouts.lists import visible
from simcvd.layouts.records import Source, SourceCase
from simcvd.wording import counted, few


def with_drawn(found: Source, folder: Path | None) -> Source:
    """The source with the labels of ``folder``, which win; a note names them.

    A file that is called like no scan is left out, and named. Two of one scan are a problem.
    """
    files = visible(folder.iterdir()) if folder and folder.is_dir() else []
    cases: dict[str, SourceCase] = {}
    strangers, problems = [], []
    for path in sorted(files):
        name = stem_of(path)
        if not suffix_of(path) or name not in found.cases:
            strangers.append(path.name)
        elif name in cases:
            problems.append(f"{path} and {cases[name].label} are labels of one scan; keep one.")
        else:
            cases[name] = replace(found.cases[name], label=path, masks=(), values=())
    notes = []
    if cases:
        notes.append(f"{counted(len(cases), 'label')} taken from {folder}: {few(list(cases))}")
    if strangers:
        notes.append(f"{folder}: no scan is called like {few(strangers)}, so it is left out")
    return replace(
        found,
        cases={**found.cases, **cases},
        notes=(*found.notes, *notes),
        problems=(*found.problems, *problems),
    )
