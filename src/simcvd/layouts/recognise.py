"""Which files make up a data set: the layouts that `prepare` recognises.

A layout is recognised by its files alone. A scan whose label file is not there is
unlabelled; nothing else about it changes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from simcvd.layouts.accounts import account
from simcvd.layouts.beside import beside
from simcvd.layouts.bids import bids
from simcvd.layouts.decathlon import decathlon
from simcvd.layouts.drawn import with_drawn
from simcvd.layouts.folders import DECLARED, images_folder, labels_folder, source_of, two_folders
from simcvd.layouts.kits import kits
from simcvd.layouts.la2018 import as_benchmark, la_h5, la_nrrd
from simcvd.layouts.labels import Labels
from simcvd.layouts.named import with_own_names
from simcvd.layouts.pairing import paired
from simcvd.layouts.pancreas import case_folders, pancreas
from simcvd.layouts.patients import with_patients
from simcvd.layouts.records import Source
from simcvd.layouts.scans import find_scans
from simcvd.layouts.total_segmentator import total_segmentator
from simcvd.layouts.tree import walk
from simcvd.naming import check_all
from simcvd.types import SimcvdError
from simcvd.wording import counted, few

NO_LAYOUT = "every scan below it, as no layout with labels was recognised"
# Asked in this order; the first that is not None is taken.
LAYOUTS: tuple[Callable[[Path], Source | None], ...] = (la_h5, la_nrrd, bids)


def recognise(
    source: Path | str,
    labels: Path | str | None = None,
    *,
    resample_labels: bool = False,
    names: str | None = None,
    patient: str | None = None,
    drawn: Path | None = None,
    or_scans: bool = False,
) -> Source:
    """Look at the folder `source` and say what it is, and what becomes of every file in it.

    labels: the folder of label maps, when `source` itself is a folder of scans.
    resample_labels: accept labels on another grid than their scan's. names: a regular expression
    that finds a scan's name in the path of its scan and of its label. patient: one that finds
    the patient in a scan's name; see `simcvd.layouts.patients`. drawn: a folder of label maps that
    win over all others; see `simcvd.layouts.drawn`. or_scans: where no layout fits and no labels
    are given, take every scan below `source` without its label.
    Raises SimcvdError with the layouts that would be recognised when none fits.
    """
    source, labels = Path(source), Path(labels) if labels else None
    try:
        found = _recognised(source, labels, names)
    except SimcvdError:
        if not or_scans or labels or not source.is_dir() or (source / DECLARED).exists():
            raise
        scans = find_scans(source)
        if not scans.found:
            raise
        found = source_of(paired(scans, Labels([]), names), NO_LAYOUT)
    return _completed(found, source, labels, resample_labels, patient, drawn)


def every_scan(source: Path, *, apart_from: Path) -> Source:
    """The scans of a folder to be segmented, by the names that `recognise` gives them.

    apart_from: a folder whose files are no scans, such as that of the results. problems: of files
    that may be scans. Raises SimcvdError if there is no scan.
    """
    if not apart_from.resolve().is_relative_to(source.resolve()):
        with suppress(SimcvdError):
            return replace(recognise(source), problems=())
    scans = find_scans(source, apart_from=[apart_from])
    if not scans.found:
        listed = "".join(f"\n  {problem}" for problem in scans.problems)
        raise SimcvdError(
            f"{source}: no scan in this folder; give scans or a folder of scans{listed}"
        )
    found = source_of(paired(scans, Labels([])), NO_LAYOUT)
    tree = walk(source, apart_from=[apart_from])
    return replace(found, files=account(found, [tree]))


def _completed(
    found: Source,
    source: Path,
    labels: Path | None,
    resample_labels: bool,
    patient: str | None,
    drawn: Path | None,
) -> Source:
    """With its patients and the use of every file, its names found to be names."""
    found = with_drawn(with_patients(with_own_names(found), patient), drawn)
    check_all(found.cases, f"{source}: a scan")
    classes = list((found.labels or {}).values())
    check_all(classes, f"{source}: a class")
    if doubled := [name for name in dict.fromkeys(classes) if classes.count(name) > 1]:
        raise SimcvdError(
            f"{source}: several values are called {few(doubled)}, and tables and segmentations "
            "tell classes by name. Rename them, or give them one value."
        )
    check_all(found.channel_names, f"{source}: a channel")
    if resample_labels:
        cases = {name: replace(case, resample_label=True) for name, case in found.cases.items()}
        found = replace(found, cases=cases)
    apart = [labels] if labels and labels.resolve() != source.resolve() else []
    trees = [walk(source, apart_from=apart)]
    trees += [walk(folder, apart_from=[source], own=True) for folder in apart]
    return replace(found, files=account(found, trees))


def _recognised(source: Path, labels: Path | None, names: str | None) -> Source:
    if not source.is_dir():
        raise SimcvdError(f"{source}: there is no such folder.")
    if labels is not None and not labels.is_dir():
        raise SimcvdError(f"{labels}: there is no such folder of labels.")
    if labels is not None and labels.resolve() == source.resolve():
        if found := _beside(source, names):
            return found
        raise SimcvdError(
            f"{source}: is both the scans' and the labels' folder, and no file in it is called "
            "like a label (<scan>_seg, <case>/segmentation). Give two folders, or --names."
        )
    if cases := case_folders(source):
        return pancreas(source, cases, labels)
    if labels is not None:
        return as_benchmark(two_folders(source, images_folder(source) or source, labels, names))
    images = images_folder(source)
    if (source / DECLARED).is_file() and images is None:
        return decathlon(source)
    for layout in LAYOUTS:
        if found := layout(source):
            return found
    if images is not None:
        return _with_images(source, images, names)
    if found := _beside(source, names):
        return found
    scans = len(find_scans(source).found)
    start = (
        f"holds {counted(scans, 'scan')}, but no labels where simcvd looks for them. Give their "
        "folder with --labels, or one of these layouts"
        if scans
        else "not recognised. Expected one of"
    )
    raise SimcvdError(
        f"{source}: {start}: images/ and labels/ with files of equal "
        "names (NIfTI, NRRD, MHA, DICOM); scans with labels beside them (<scan>_seg, "
        "<case>/segmentation, <case>/segmentations/<class>); dataset.json with imagesTr/ and "
        "labelsTr/ (Decathlon, nnU-Net); BIDS with derivatives/; <case>/mri_norm2.h5; "
        "<case>/lgemri.nrrd with laendo.nrrd; PANCREAS_<number>/ of DICOM with "
        "label<number>.nii.gz; or a folder of scans with --labels FOLDER. "
        f"Found: {few(sorted(p.name for p in source.iterdir()))}."
    )


def _with_images(source: Path, images: Path, names: str | None) -> Source:
    """images/ with a folder of labels beside it, or with labels beside the scans in it."""
    labels = labels_folder(source)
    if not labels.is_dir() and (found := beside(images, names)):
        return found
    return as_benchmark(two_folders(source, images, labels, names))


def _beside(source: Path, names: str | None) -> Source | None:
    return total_segmentator(source) or kits(source) or beside(source, names)
