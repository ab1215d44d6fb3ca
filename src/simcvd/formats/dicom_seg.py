"""DICOM segmentation objects: read as label maps with their names and codes, and written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.formats.child import ask
from simcvd.formats.dicom_files import is_dicom
from simcvd.formats.dicom_seg_write import writer
from simcvd.formats.dicom_tags import dataset, storage_class
from simcvd.formats.geometry import affine_of
from simcvd.formats.record import Format, Header, Voxels, What
from simcvd.types import Segment, SimcvdError

# Segmentation Storage and Label Map Segmentation Storage, PS3.4 annex B.
CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
# How simcvd notes the value that a segment has in the user's label files.
VALUE = re.compile(r"label value (-?\d{1,9})")
# Slices without a frame are background; many more of them than frames are no segmentation.
SPARSE = 50


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One plane of one segment: its number (0 in a label map), and its index along the normal."""

    segment: int
    place: int


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the frames are. values: segment number -> value in the label map."""

    frames: tuple[Frame, ...]
    values: dict[int, int]
    bits: int
    highest: int
    plain: bool


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation object, by what it says of itself."""
    return is_dicom(path) and storage_class(path) in CLASSES


def read_header(path: Path, what: What = "label") -> Header:
    """Segments, and the grid that the frames lie on: the part of its scan that is segmented."""
    if what == "image":
        raise SimcvdError(f"{path}: is a DICOM segmentation, not a scan. Give it as a label.")
    data = dataset(path, _TAGS)
    segments, values = _segments(path, data)
    positions, numbers, axes, steps = _planes(path, data)
    step, places = _places(path, data, positions, axes)
    first = positions[int(np.argmin(places))]
    rows, columns, bits = int(data.Rows), int(data.Columns), int(data.BitsAllocated)
    kind = str(data.get("SegmentationType", ""))
    highest = int(data.get("MaximumFractionalValue", 1)) if kind == "FRACTIONAL" else 1
    frames = [Frame(segment=n, place=p) for n, p in zip(numbers, places, strict=True)]
    plain = str(data.file_meta.get("TransferSyntaxUID", "")) in PLAIN
    if path.stat().st_size * 8 < len(frames) * rows * columns * bits and plain:
        raise SimcvdError(
            f"{path}: claims {len(frames)} frames of {rows} x {columns}, more than its "
            f"{path.stat().st_size} bytes can hold. It may be truncated; copy it again."
        )
    return Header(
        shape=(columns, rows, max(places) + 1),
        dtype=np.dtype(np.int32),
        affine=affine_of(axes * [*steps, step], first),
        partial=True,
        segments=segments,
        source=Contents(
            frames=tuple(frames), values=values, bits=bits, highest=highest, plain=plain
        ),
    )


_TAGS = (
    *("SegmentSequence", "SegmentationType", "MaximumFractionalValue", "Rows", "Columns"),
    *("BitsAllocated", "NumberOfFrames", "SharedFunctionalGroupsSequence"),
    "PerFrameFunctionalGroupsSequence",
)


def _segments(path: Path, data: Any) -> tuple[tuple[Segment, ...], dict[int, int]]:
    """Names and codes, and each segment number's value: as noted in it, else the number itself."""
    found = [s for s in data.get("SegmentSequence", ()) if int(s.SegmentNumber) > 0]
    noted = [VALUE.fullmatch(str(s.get("SegmentDescription", ""))) for s in found]
    own = [int(match[1]) if match else 0 for match in noted]
    if not found or 0 in own or len(set(own)) < len(own):
        own = [int(s.SegmentNumber) for s in found]
    segments = tuple(
        Segment(value=value, name=str(s.get("SegmentLabel", f"segment {value}")), code=_code(s))
        for value, s in zip(own, found, strict=True)
    )
    return segments, {int(s.SegmentNumber): v for s, v in zip(found, own, strict=True)}


def _code(segment: Any) -> str:
    kinds = segment.get("SegmentedPropertyTypeCodeSequence") or ()
    return " ".join(f"{k.CodingSchemeDesignator} {k.CodeValue}" for k in kinds[:1])


def _planes(path: Path, data: Any) -> tuple[np.ndarray, list[int], np.ndarray, np.ndarray]:
    """Position and segment of every frame, the axes they share (columns, LPS), mm in plane."""
    shared = (data.get("SharedFunctionalGroupsSequence") or [{}])[0]
    groups = list(data.get("PerFrameFunctionalGroupsSequence") or ())
    if not groups:
        raise SimcvdError(f"{path}: holds no frame, so it segments nothing. Take it away.")

    def of(group: Any, sequence: str, field: str) -> Any:
        items = group.get(sequence) or shared.get(sequence)
        if not items or items[0].get(field) is None:
            raise SimcvdError(f"{path}: its frames have no {field}, so their place is unknown.")
        return items[0].get(field)

    positions, orientations, spacings, numbers = [], [], [], []
    for group in groups:
        positions.append(of(group, "PlanePositionSequence", "ImagePositionPatient"))
        orientations.append(of(group, "PlaneOrientationSequence", "ImageOrientationPatient"))
        spacings.append(of(group, "PixelMeasuresSequence", "PixelSpacing"))
        named = group.get("SegmentIdentificationSequence")
        named = named or shared.get("SegmentIdentificationSequence")
        numbers.append(int(named[0].ReferencedSegmentNumber) if named else 0)
    turned = np.array(orientations, float)
    sizes = np.array(spacings, float)
    if np.ptp(turned, axis=0).max() > 1e-4 or np.ptp(sizes, axis=0).max() > 1e-4:
        raise SimcvdError(f"{path}: its frames differ in orientation or pixel size.")
    row, column = turned[0].reshape(2, 3)
    axes = np.stack([row, column, np.cross(row, column)], axis=1)
    return np.array(positions, float), numbers, axes, sizes[0][::-1]


def _places(
    path: Path, data: Any, positions: np.ndarray, axes: np.ndarray
) -> tuple[float, list[int]]:
    """Distance of the planes in mm, and each frame's index among them."""
    depths = (positions - positions[0]) @ axes
    if np.abs(depths[:, :2]).max() > 0.1:
        raise SimcvdError(f"{path}: its frames are shifted in plane against each other.")
    depth = depths[:, 2]
    levels = np.unique(np.round(depth, 3))
    step = float(np.diff(levels).min()) if len(levels) > 1 else _stated_step(data)
    stated = _stated_step(data)
    if len(levels) > 1 and stated and np.allclose(np.diff(levels) / stated % 1, 0, atol=0.01):
        step = stated
    if not np.isfinite(step) or step <= 0:
        raise SimcvdError(f"{path}: does not say how far its slices lie apart.")
    places = (depth - depth.min()) / step
    if np.abs(places - np.rint(places)).max() > 0.05 or places.max() > SPARSE * len(levels) + 1000:
        raise SimcvdError(f"{path}: its frames do not lie at even distances.")
    return step, [int(place) for place in np.rint(places)]


def _stated_step(data: Any) -> float:
    shared = (data.get("SharedFunctionalGroupsSequence") or [{}])[0]
    measures = (shared.get("PixelMeasuresSequence") or [{}])[0]
    step = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0
    return float(step)


def read_voxels(path: Path, header: Header) -> Voxels:
    """The label map ``[X, Y, Z]``, int32; raises SimcvdError for segments that overlap."""
    contents: Contents = header.source
    label = np.zeros(header.shape, np.int32)
    planes = _stored(path, header.shape, contents)
    for frame, plane in zip(contents.frames, planes, strict=True):
        target = label[:, :, frame.place]
        if frame.segment == 0:  # a label map: its pixels are segment numbers
            for number, value in contents.values.items():
                target[number == plane.T] = value
            continue
        if stray := set(np.unique(plane).tolist()) - {0, contents.highest}:
            raise SimcvdError(
                f"{path}: holds shares of a voxel ({min(stray)} of {contents.highest}) and no "
                "classes. Store it as a binary segmentation."
            )
        inside = plane.T > 0
        if frame.segment not in contents.values:
            raise SimcvdError(f"{path}: a frame is of segment {frame.segment}, which is not there.")
        value = contents.values[frame.segment]
        if taken := set(np.unique(target[inside]).tolist()) - {0}:
            names = {s.value: s.name for s in header.segments}
            raise SimcvdError(
                f"{path}: the segments '{names[min(taken)]}' and '{names[value]}' overlap. A voxel "
                "has one class: correct the segments."
            )
        target[inside] = value
    return Voxels(array=label, affine=header.affine)


def _stored(path: Path, shape: Sequence[int], contents: Contents) -> np.ndarray:
    """``[N, rows, columns]`` of all frames; of one bit a pixel, the lowest comes first."""
    size = (len(contents.frames), shape[1], shape[0])
    if not contents.plain:
        planes: np.ndarray = ask(path, "simcvd.formats.dicom_codec:frames")
        return planes.reshape(size)
    pixels = bytes(dataset(path).get("PixelData", b""))
    if len(pixels) * 8 < np.prod(size) * contents.bits:
        raise SimcvdError(
            f"{path}: cannot be read: {len(pixels)} bytes of pixels are there, but {size[0]} "
            "frames need more. The file may be truncated; copy it again from its origin."
        )
    if contents.bits == 1:
        return np.unpackbits(
            np.frombuffer(pixels, np.uint8), count=int(np.prod(size)), bitorder="little"
        ).reshape(size)
    return np.frombuffer(pixels, f"<u{contents.bits // 8}", int(np.prod(size))).reshape(size)


DICOM_SEG = Format(
    names_classes=True,
    key="dicom-seg",
    header=read_header,
    voxels=read_voxels,
    recognises=is_segmentation,
    endings=(".dcm",),
    writer=writer,
    needs_own=True,
    mendable=False,
)
