"""The left-atrium benchmark of 2018: NIfTI with lists, UA-MT's HDF5, the challenge's NRRD."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from simcvd.formats import read_header
from simcvd.formats.hdf5 import has_label
from simcvd.layouts.la2018_names import DIGESTS
from simcvd.layouts.lists import doubled, visible, with_lists
from simcvd.layouts.records import Source, SourceCase
from simcvd.preprocessing import Preprocessing
from simcvd.types import SimcvdError

LABELS = {0: "background", 1: "left atrium"}
LENGTH = 20  # of the challenge's pseudonyms


def digest_of(name: str) -> str:
    """The first six hexadecimal digits of a name's SHA-256."""
    return hashlib.sha256(name.encode()).hexdigest()[:6]


def as_benchmark(source: Source) -> Source:
    """Two folders that hold scans of the benchmark alone, with its lists, are the benchmark.

    Its scans are known by name, each of the 100 pseudonyms by a digest, and normalised values are
    no whole numbers. Names that only look like them say nothing of how a scan was normalised.
    """
    if not source.test or not source.cases:
        return source
    known = all(digest_of(name) in DIGESTS for name in source.cases)
    if known and _holds_floats(source.cases.get(source.test[0])):
        return replace(
            source,
            kind="la-nifti",
            description="left-atrium benchmark as NIfTI with train.list and test.list, "
            "normalised already",
            labels=LABELS,
            preprocessing=Preprocessing(normalization="none"),
        )
    if all(_like_a_pseudonym(name) for name in source.cases):
        note = (
            "the scans are called like those of the left-atrium benchmark, but are not its "
            "normalised ones, and so are normalised; give --normalization none if they are already"
        )
        return replace(source, notes=(*source.notes, note))
    return source


def _holds_floats(case: SourceCase | None) -> bool:
    try:
        return case is not None and read_header(case.images[0]).floats
    except SimcvdError:
        return True  # unreadable: reported with all other problems when the case is read


def _like_a_pseudonym(name: str) -> bool:
    return len(name) == LENGTH and name.isascii() and name.isalnum() and name == name.upper()


def la_h5(root: Path) -> Source | None:
    """Folders ``<case>/mri_norm2.h5``, here or one folder below."""
    files = _below(root, "mri_norm2.h5")
    if not files:
        return None
    cases = {
        f.parent.name: SourceCase(
            name=f.parent.name, images=(f,), label=f if _h5_has_label(f) else None
        )
        for f in files
    }
    return with_lists(
        root,
        Source(
            kind="la-h5",
            description="left-atrium benchmark as <case>/mri_norm2.h5, normalised already, "
            "taken as 0.625 mm isotropic",
            cases=cases,
            train=tuple(sorted(cases)),
            labels=LABELS,
            preprocessing=Preprocessing(normalization="none"),
            problems=tuple(doubled(f.parent for f in files)),
        ),
    )


def la_nrrd(root: Path) -> Source | None:
    """Folders ``<case>/lgemri.nrrd`` with ``laendo.nrrd``, here or one folder below."""
    files = _below(root, "lgemri.nrrd")
    if not files:
        return None
    cases = {}
    for image in files:
        label = image.with_name("laendo.nrrd")
        name = image.parent.name
        cases[name] = SourceCase(
            name=name, images=(image,), label=label if label.is_file() else None
        )
    return with_lists(
        root,
        Source(
            kind="la-nrrd",
            description="left-atrium challenge as <case>/lgemri.nrrd and laendo.nrrd "
            "(label 255), z-scored over the whole scan",
            cases=cases,
            train=tuple(sorted(cases)),
            labels={0: LABELS[0], 255: LABELS[1]},
            problems=tuple(doubled(f.parent for f in files)),
        ),
    )


def _below(root: Path, name: str) -> list[Path]:
    found: Iterable[list[Path]] = (visible(root.glob(f"{d}/{name}")) for d in ("*", "*/*"))
    return next((files for files in found if files), [])


def _h5_has_label(path: Path) -> bool:
    try:
        return has_label(path)
    except SimcvdError:
        return True  # unreadable: reported with all other problems when the case is read
