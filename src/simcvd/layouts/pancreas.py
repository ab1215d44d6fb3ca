"""NIH Pancreas-CT as it is downloaded: a DICOM series a case, labels by number beside them.

::

    PANCREAS_0001/<study>/<series>/*.dcm      here or in a folder of SOURCE
    label0001.nii.gz                          anywhere else in SOURCE, or in --labels
"""

from __future__ import annotations

import re
from pathlib import Path

from simcvd.formats.nifti import is_nifti
from simcvd.layouts.decathlon import CT_WINDOW
from simcvd.layouts.lists import visible, with_lists
from simcvd.layouts.records import Source, SourceCase
from simcvd.layouts.scans import find_scans
from simcvd.preprocessing import Preprocessing
from simcvd.wording import few

CASE = re.compile(r"PANCREAS_(\d{4})")
LABEL = re.compile(r"label(\d{4})\.nii(\.gz)?")


def case_folders(root: Path) -> list[Path]:
    """The folders PANCREAS_0001, ... in `root` or one folder below it."""
    found = visible([*root.glob("PANCREAS_*"), *root.glob("*/PANCREAS_*")])
    return [path for path in found if path.is_dir() and CASE.fullmatch(path.name)]


def pancreas(root: Path, folders: list[Path], labels: Path | None = None) -> Source:
    """The data set in `root`; a case whose label is not there is unlabelled.

    labels: where the label files lie; by default anywhere in `root`.
    """
    by_number, problems = _labels(labels or root)
    cases: dict[str, SourceCase] = {}
    notes: list[str] = []
    passed: dict[Path, str] = {}
    for folder in folders:
        found = find_scans(folder)
        notes += found.notes
        problems += found.problems
        passed |= found.passed
        if len(found.found) != 1:
            problems.append(
                f"{folder}: holds {len(found.found)} scans, not one series. Keep the CT's."
            )
            continue
        (scan,), name = found.found, folder.name
        cases[name] = SourceCase(
            name=name,
            images=(scan.path,),
            label=by_number.pop(name[-4:], None),
            patient=scan.patient,
            files=scan.files,
        )
    if by_number:
        names = few([path.name for path in by_number.values()])
        notes.append(f"{len(by_number)} labels have no scan and are left out: {names}")
        passed |= dict.fromkeys(by_number.values(), "a label of no scan")
    source = Source(
        kind="pancreas-ct",
        description="NIH Pancreas-CT, PANCREAS_<number>/ as DICOM with label<number>.nii.gz",
        cases=cases,
        train=tuple(sorted(cases)),
        labels={0: "background", 1: "pancreas"},
        preprocessing=Preprocessing(normalization="ct", window=CT_WINDOW),
        notes=tuple(notes),
        problems=tuple(problems),
        passed=passed,
    )
    return with_lists(root, source)


def _labels(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Label files by number, and the numbers that two files have."""
    by_number: dict[str, Path] = {}
    problems = []
    for path in visible([*root.glob("label*"), *root.glob("*/label*")]):
        match = LABEL.fullmatch(path.name)
        if match is None or not is_nifti(path):
            continue
        first = by_number.setdefault(match[1], path)
        if first != path:
            problems.append(f"two labels of one number: {first} and {path}. Keep one.")
    return by_number, problems
