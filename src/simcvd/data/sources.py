"""Which files make up a data set: the layouts that `prepare` recognises.

A layout is recognised by its files alone. A scan whose label file is not there is
unlabelled; nothing else about it changes.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from simcvd.data.decathlon import decathlon, declared, preprocessing_of
from simcvd.data.listing import Source, SourceCase, doubled, visible, with_lists
from simcvd.data.named import with_own_names
from simcvd.data.pairing import pair
from simcvd.data.pancreas import case_folders, pancreas
from simcvd.data.preprocess import Preprocessing
from simcvd.formats.hdf5 import has_label
from simcvd.types import SimcvdError
from simcvd.wording import few

LA_LABELS = {0: "background", 1: "left atrium"}
DECLARED = "dataset.json"
LA_NAME = re.compile(r"[A-Z0-9]{20}")


def recognise(source: Path, labels: Path | None = None, *, resample_labels: bool = False) -> Source:
    """Look at the folder `source` and say what it is.

    labels: the folder of label maps, when `source` itself is a folder of scans.
    resample_labels: accept labels on another grid than their scan's.
    Raises SimcvdError with the layouts that would be recognised when none fits.
    """
    found = with_own_names(_recognised(source, labels))
    if not resample_labels:
        return found
    cases = {name: replace(case, resample_label=True) for name, case in found.cases.items()}
    return replace(found, cases=cases)


def _recognised(source: Path, labels: Path | None) -> Source:
    if not source.is_dir():
        raise SimcvdError(f"{source}: there is no such folder.")
    if labels is not None and not labels.is_dir():
        raise SimcvdError(f"{labels}: there is no such folder of labels.")
    if cases := case_folders(source):
        return pancreas(source, cases, labels)
    if labels is not None:
        images = source / "images" if (source / "images").is_dir() else source
        return _two_folders(source, images, labels)
    if (source / DECLARED).is_file() and not (source / "images").is_dir():
        return decathlon(source)
    for folders in ("*", "*/*"):
        if files := visible(source.glob(f"{folders}/mri_norm2.h5")):
            return _la_h5(source, files)
        if files := visible(source.glob(f"{folders}/lgemri.nrrd")):
            return _la_nrrd(source, files)
    if (source / "images").is_dir():
        return _two_folders(source, source / "images", source / "labels")
    raise SimcvdError(
        f"{source}: not recognised. Expected one of: images/ and labels/ with files of equal "
        "names (NIfTI, NRRD, MHA, DICOM); dataset.json with imagesTr/ and labelsTr/ (Decathlon, "
        "nnU-Net); <case>/mri_norm2.h5; <case>/lgemri.nrrd with laendo.nrrd; PANCREAS_<number>/ "
        "of DICOM with label<number>.nii.gz; or a folder of "
        f"scans with --labels FOLDER. Found: {few(sorted(p.name for p in source.iterdir()))}."
    )


def _la_h5(root: Path, files: list[Path]) -> Source:
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
            labels=LA_LABELS,
            preprocessing=Preprocessing(normalization="none"),
            problems=tuple(doubled(f.parent for f in files)),
        ),
    )


def _h5_has_label(path: Path) -> bool:
    try:
        return has_label(path)
    except SimcvdError:
        return True  # unreadable: reported with all other problems when the case is read


def _la_nrrd(root: Path, files: list[Path]) -> Source:
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
            labels={0: LA_LABELS[0], 255: LA_LABELS[1]},
            problems=tuple(doubled(f.parent for f in files)),
        ),
    )


def _two_folders(root: Path, images: Path, labels: Path) -> Source:
    paired = pair(images, labels)
    one = ", one mask a class" if paired.classes else ""
    found = tuple(f"channel {c}" for c in range(paired.channels)) if paired.channels > 1 else None
    path = next((p for p in (images / DECLARED, root / DECLARED) if p.is_file()), None)
    channels, classes = declared(path) if path else (None, None)
    problems = list(paired.problems)
    if channels and found and len(channels) != len(found):
        problems.append(
            f"{path}: declares {len(channels)} channels, but the scans have {len(found)} files each"
        )
    names = channels or found or ("image",)
    source = Source(
        kind="folders",
        description=f"scans of {images.name}/ paired by name with labels of {labels.name}/{one}",
        cases=paired.cases,
        train=tuple(sorted(paired.cases)),
        channel_names=names,
        labels=paired.classes or classes,
        preprocessing=preprocessing_of(names),
        notes=paired.notes,
        problems=tuple(problems),
    )
    source = with_lists(root, source)
    if not (source.test and all(LA_NAME.fullmatch(name) for name in source.cases)):
        return source
    return replace(
        source,
        kind="la-nifti",
        description="left-atrium benchmark as NIfTI with train.list and test.list, "
        "normalised already",
        labels=LA_LABELS,
        preprocessing=Preprocessing(normalization="none"),
    )
