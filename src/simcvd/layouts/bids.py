"""BIDS: ``sub-<patient>[/ses-<visit>]/<kind>/sub-..._<suffix>.nii.gz``, labels in derivatives.

Labels are files ``..._dseg.nii.gz`` or ``..._mask.nii.gz``, anywhere in the data set; each
belongs to the scan whose subject, session and run it names. A dseg.tsv names their values.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from simcvd.files import UTF8
from simcvd.layouts.folders import declared_over, source_of
from simcvd.layouts.pairing import NO_SCAN, Pairing, label_files
from simcvd.layouts.records import Source, SourceCase
from simcvd.layouts.scans import ScanFile, find_scans
from simcvd.types import SimcvdError
from simcvd.wording import few

ENTITY = re.compile(r"([a-z]+)-([a-zA-Z0-9+]+)")
# What tells the scans of a data set apart; others say how a file was made.
PLACE = ("sub", "ses", "acq", "run", "echo")
LABELS = ("dseg", "mask", "probseg")
TABLE = "dseg.tsv"


def bids(root: Path) -> Source | None:
    """The data set in `root`, or None if it is none. Raises SimcvdError for a broken table."""
    if not any(path.is_dir() for path in root.glob("sub-*")):
        return None
    if not ((root / "dataset_description.json").exists() or (root / "derivatives").is_dir()):
        return None
    scans = find_scans(root)
    files = [file for file in scans.found if file.name.startswith("sub-")]
    labels = [file for file in files if _suffix(file) in LABELS]
    derived = [file for file in files if file.key[0] == "derivatives" and file not in labels]
    images = [file for file in files if file not in labels and file not in derived]
    if not images:
        return None
    passed = {f.path: "not named as BIDS names scans" for f in scans.found if f not in files}
    passed |= {file.path: "a derivative, no label map" for file in derived}
    found = _paired(images, labels)
    tables = sorted(root.rglob(f"*{TABLE}"))
    pairing = replace(
        found,
        notes=(*scans.notes, *found.notes),
        problems=(*scans.problems, *found.problems),
        passed={**scans.passed, **passed, **found.passed},
    )
    source = replace(source_of(pairing, "BIDS, with labels of its derivatives"), kind="bids")
    described = root / "dataset_description.json"
    lists = [*tables, *([described] if described.is_file() else [])]
    source = declared_over(root, root, source)
    return replace(source, labels=source.labels or _names(tables), lists=(*source.lists, *lists))


def _suffix(file: ScanFile) -> str:
    return file.name.rpartition("_")[2]


def _entities(file: ScanFile) -> dict[str, str]:
    return {key: value for key, value in ENTITY.findall(file.name) if key in PLACE}


def _paired(images: Sequence[ScanFile], labels: Sequence[ScanFile]) -> Pairing:
    kinds = sorted({_suffix(file) for file in images})
    plain = {file.path: file.name.rpartition("_")[0] for file in images}
    several = len(set(plain.values())) < len(plain)
    cases: dict[str, SourceCase] = {}
    for file in images:
        name = file.name if several else plain[file.path]
        entities = _entities(file)
        cases[name] = SourceCase(
            name=name, images=(file.path,), label=None, patient=f"sub-{entities.get('sub', '')}"
        )
    problems = []
    if several:
        problems.append(
            f"one visit has several kinds of scans ({few(kinds)}), and simcvd takes one file each "
            "or channels on one grid. Keep one kind, or arrange them as channels (docs/formats.md)."
        )
    return _labelled(cases, images, labels, problems)


def _labelled(
    cases: dict[str, SourceCase],
    images: Sequence[ScanFile],
    labels: Sequence[ScanFile],
    problems: list[str],
) -> Pairing:
    """Each scan with the one label whose entities it has; several are a problem."""
    at = {file.path: _entities(file) for file in (*images, *labels)}
    made = {}
    for name, case in cases.items():
        own = at[case.images[0]]
        fitting = [f for f in labels if at[f.path] and at[f.path].items() <= own.items()]
        if len(fitting) > 1:
            shown = few([str(file.path) for file in fitting], 2)
            problems.append(
                f"{case.images[0]}: has {len(fitting)} labels, {shown}. Keep one label map a scan, "
                "or give their folder with --labels."
            )
        made[name] = replace(case, label=fitting[0].path if fitting else None)
    used = {path for case in made.values() for path in label_files(case)}
    rest = [file for file in labels if file.path not in used]
    notes = [f"{len(rest)} labels have no scan: {few([f.name for f in rest])}"] if rest else []
    passed = {file.path: NO_SCAN for file in rest}
    return Pairing(cases=made, notes=tuple(notes), problems=tuple(problems), passed=passed)


def _names(tables: Sequence[Path]) -> dict[int, str] | None:
    """{value: name} from the one dseg.tsv that all labels share, or None."""
    read = [_table(path) for path in tables]
    if not read or any(other != read[0] for other in read):
        return None
    return {0: "background", **read[0]}


def _table(path: Path) -> Mapping[int, str]:
    try:
        with path.open(encoding=UTF8, newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return {int(row["index"]): row["name"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SimcvdError(
            f"{path}: is not a table with columns index and name ({error!r}). Correct or remove it."
        ) from error
