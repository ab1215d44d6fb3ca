"""The formats there are. A new one is its module and its line here; nothing else names a suffix."""

from __future__ import annotations

from pathlib import Path

from simcvd.formats.dicom_seg import DICOM_SEG
from simcvd.formats.dicom_series import DICOM
from simcvd.formats.guard import readable
from simcvd.formats.hdf5 import HDF5
from simcvd.formats.metaimage import METAIMAGE
from simcvd.formats.nifti import NIFTI
from simcvd.formats.nrrd import NRRD, SEG_NRRD
from simcvd.formats.record import Format, Write
from simcvd.types import SimcvdError

# What is recognised by content is asked in this order: a segmentation is a DICOM file, too.
FORMATS: list[Format] = [NIFTI, NRRD, SEG_NRRD, METAIMAGE, HDF5, DICOM_SEG, DICOM]


def suffix_of(path: Path) -> str:
    """The ending that decides the format (``.nii.gz`` as one), or ``""`` when none fits."""
    name = path.name.lower()
    fitting = [s for kind in FORMATS for s in kind.suffixes if name.endswith(s)]
    return max(fitting, key=len, default="")


def stem_of(path: Path) -> str:
    """The name without the ending that `suffix_of` finds; ``#`` of a DICOM series becomes ``_``."""
    return path.name[: len(path.name) - len(suffix_of(path))].replace("#", "_")


def find_format(path: Path) -> Format | None:
    """The format of a path: by its ending, else by its content; None if it is none's."""
    if not path.is_dir() and (suffix := suffix_of(path)):
        return next(kind for kind in FORMATS if suffix in kind.suffixes)
    return next((kind for kind in FORMATS if kind.recognises(path)), None)


def format_of(path: Path) -> Format:
    """As `find_format`; raises SimcvdError if the format is unknown."""
    kind = find_format(path)
    if kind is None:
        known = ", ".join(suffix for kind in FORMATS for suffix in kind.suffixes)
        raise SimcvdError(f"{path}: unknown format; simcvd reads {known} and DICOM.")
    return kind


def answers() -> dict[str, Format]:
    """The formats in which predictions are given, by the name of each."""
    return {kind.key: kind for kind in FORMATS if kind.writer}


def answer_for(path: Path) -> Format:
    """The format in which the prediction for a scan is given, unless another one is asked for."""
    kind = format_of(path)
    return answers()[kind.answer or kind.key]


def writer_of(kind: Format, scan: Path) -> Write:
    """Makes ready to write labels in a format, over a scan of whatever format.

    Raises SimcvdError where the scan does not allow it.
    """
    assert kind.writer is not None
    return kind.writer(scan if answer_for(scan) is kind else None)


def best_writer(scan: Path) -> tuple[Format, Write, str]:
    """The format for labels of a scan, made ready, and why it is not the scan's own, else "".

    A series that a DICOM segmentation cannot refer to is answered in NIfTI.
    """
    kind = answer_for(scan)
    try:
        return kind, writer_of(kind, scan), ""
    except SimcvdError as error:
        if not kind.needs_own:
            raise
        return NIFTI, writer_of(NIFTI, scan), str(error)


def files_of(path: Path) -> list[Path]:
    """Every file behind a path, the one that was named first: data files, slices of a series.

    Raises SimcvdError if the path cannot be read so far.
    """
    with readable(path):
        return format_of(path).files(path)
