"""The left-atrium benchmark of 2018: NIfTI with lists, UA-MT's HDF5, the challenge's NRRD."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    return _by_folder(
        root,
        {file: file if _h5_has_label(file) else None for file in files},
        kind="la-h5",
        description="left-atrium benchmark as <case>/mri_norm2.h5, normalised already, "
        "taken as 0.625 mm isotropic",
        labels=LABELS,
        preprocessing=Preprocessing(normalization="none"),
    )


def la_nrrd(root: Path) -> Source | None:
    """Folders ``<case>/lgemri.nrrd`` with ``laendo.nrrd``, here or one folder below."""
    files = _below(root, "lgemri.nrrd")
    if not files:
        return None
    labels = {image: image.with_name("laendo.nrrd") for image in files}
    return _by_folder(
        root,
        {image: label if label.is_file() else None for image, label in labels.items()},
        kind="la-nrrd",
        description="left-atrium challenge as <case>/lgemri.nrrd and laendo.nrrd "
        "(label 255), z-scored over the whole scan",
        labels={0: LABELS[0], 255: LABELS[1]},
    )


def _by_folder(root: Path, files: Mapping[Path, Path | None], **about: Any) -> Source:
    """Scans called by their folders, each with its label; about: what else `Source` says."""
    cases = {
        image.parent.name: SourceCase(name=image.parent.name, images=(image,), label=label)
        for image, label in files.items()
    }
    problems = tuple(doubled(image.parent for image in files))
    train = tuple(sorted(cases))
    return with_lists(root, Source(cases=cases, train=train, problems=problems, **about))


def _below(root: Path, name: str) -> list[Path]:
    found: Iterable[list[Path]] = (visible(root.glob(f"{d}/{name}")) for d in ("*", "*/*"))
    return next((files for files in found if files), [])


def _h5_has_label(path: Path) -> bool:
    try:
        return has_label(path)
    except SimcvdError:
        return True  # unreadable: reported with all other problems when the case is read
