"""Writing DICOM segmentation objects that refer to the series they were made from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcvd import __version__
from simcvd.files import replace_into
from simcvd.formats.dicom_series import series_at
from simcvd.formats.dicom_tags import quiet
from simcvd.formats.geometry import LPS
from simcvd.formats.record import Write
from simcvd.plugins import optional
from simcvd.types import SimcvdError

# What a segmentation takes over from its source and cannot do without.
NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "Rows",
    "Columns",
)
# Attributes that a scanner must write but may leave empty (type 2 of PS3.3).
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)


@dataclass(frozen=True, kw_only=True)
class SegSource:
    """The headers of a series' slices, each place once, from the first to the last."""

    path: Path
    headers: Sequence[Any]


def writer(like: Path | None) -> Write:
    """Reads what a segmentation of the series ``like`` must refer to, before any work is done.

    Raises SimcvdError if highdicom is not installed, or if the series lacks what a reference
    to it must hold. Of the names, the first is the background's; class k becomes segment k, with
    its name as label and its value in the user's label files in the description. A class that was
    not found has a segment without frames.
    """
    if like is None:
        raise SimcvdError("a DICOM segmentation refers to a series; choose another --format")
    source = _source(like)

    def write(path: Path, labels: np.ndarray, affine: np.ndarray, names: Mapping[int, str]) -> None:
        with quiet():
            _write(path, labels, affine, names, source)

    return write


def _source(path: Path) -> SegSource:
    _highdicom()
    slices = series_at(path).slices
    if len(slices) < 2 or not all(s.position and s.orientation for s in slices):
        raise SimcvdError(f"{path}: is not a series of slices with positions in the patient")
    row, column = np.array(slices[0].orientation).reshape(2, 3)
    normal = np.cross(row, column)
    places: dict[float, Path] = {}
    for one in sorted(slices, key=lambda s: float(np.dot(s.position, normal))):
        places.setdefault(round(float(np.dot(one.position, normal)), 3), one.path)
    step = round(float(np.median(np.diff(list(places)))), 6)
    return SegSource(path=path, headers=[_header(file, step) for file in places.values()])


def _header(file: Path, step: float) -> Any:
    """A slice's tags as a segmentation takes them over."""
    from pydicom import dcmread

    header: Any = dcmread(file, stop_before_pixels=True, force=True)
    if missing := [name for name in NEEDED if name not in header]:
        raise SimcvdError(
            f"{file}: has no {', '.join(missing)}, which a DICOM segmentation must refer to. "
            "Export the original series, or choose --format nifti"
        )
    for name in MAY_BE_EMPTY:
        if name not in header or _is_no_date(name, str(header[name].value or "")):
            setattr(header, name, "")
    header.SliceThickness = header.get("SliceThickness") or step
    header.SpacingBetweenSlices = step  # written wrongly often enough; highdicom would copy it
    return header


def _is_no_date(name: str, value: str) -> bool:
    """Whether a date or time is none, such as the 00/00/0000 that some de-identifiers write."""
    if name.endswith("Date"):
        return bool(value) and not re.fullmatch(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", value)
    return name.endswith("Time") and not re.fullmatch(r"|\d{2,6}(\.\d{1,6})?", value)


def _write(
    path: Path,
    labels: np.ndarray,
    affine: np.ndarray,
    names: Mapping[int, str],
    source: SegSource,
) -> None:
    hd = _highdicom()
    classes = np.zeros(labels.shape, np.uint8)
    for number, value in enumerate([*names][1:], start=1):
        classes[labels == value] = number
    volume = hd.Volume(
        array=np.ascontiguousarray(classes.T),  # slices, rows, columns
        affine=(LPS @ affine)[:, [2, 1, 0, 3]],
        coordinate_system="PATIENT",
        frame_of_reference_uid=source.headers[0].FrameOfReferenceUID,
    )
    try:
        segmentation = _segmentation(hd, volume, source, names)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise SimcvdError(
            f"{source.path}: its headers do not allow a DICOM segmentation ({error}); export the "
            "original series, or choose --format nifti"
        ) from error
    with replace_into(path) as temporary:
        segmentation.save_as(temporary)


def _segmentation(hd: Any, volume: Any, source: SegSource, names: Mapping[int, str]) -> Any:
    algorithm = _algorithm(hd)
    return hd.seg.Segmentation(
        source_images=list(source.headers),
        pixel_array=volume,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(hd, k, name, value, algorithm)
            for k, (value, name) in enumerate(names.items())
            if k
        ],
        series_instance_uid=hd.UID(),
        series_number=int(source.headers[0].get("SeriesNumber") or 0) + 1000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="simcvd",
        manufacturer_model_name="simcvd",
        software_versions=__version__,
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description="Segmentation by a neural network",
        series_description="simcvd segmentation",
    )


def _highdicom() -> Any:
    return optional("highdicom", "dicom", "a DICOM segmentation, unlike --format nifti,")


def _algorithm(hd: Any) -> Any:
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name="simcvd", version=__version__, family=codes.DCM.ArtificialIntelligence
    )


def _segment(hd: Any, number: int, name: str, value: int, algorithm: Any) -> Any:
    category, kind = concepts(name)
    segment = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    segment.SegmentDescription = f"label value {value}"
    return segment


def concepts(name: str) -> tuple[Any, Any]:
    """SNOMED CT codes of a class: what kind of thing it is, and which one.

    Names are looked up as DICOM spells them ("left atrium"), among lesions (CID 7159) and then
    structures of the body (CID 7153 of the brain, CID 7151 of all); an unknown name is an
    anatomical structure and no more.
    """
    from pydicom.sr.codedict import codes

    structure = codes.SCT.AnatomicalStructure
    lesion = codes.SCT.MorphologicallyAbnormalStructure
    words = "".join(word.capitalize() for word in name.replace("_", " ").split())
    for group, category in (("cid7159", lesion), ("cid7153", structure), ("cid7151", structure)):
        listed = getattr(codes, group)
        if words in listed.dir():
            return category, getattr(listed, words)
    return structure, structure
