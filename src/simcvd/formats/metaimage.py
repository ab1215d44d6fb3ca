"""MetaImage: ``.mha``, and ``.mhd`` with its data file; written as ITK writes it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from simcvd.files import write_bytes
from simcvd.formats.geometry import LPS, affine_of, spacing_of
from simcvd.formats.packed import Block, Coding
from simcvd.formats.plain import array_of
from simcvd.formats.record import Format, Header, Voxels, What, Write
from simcvd.formats.text import LONGEST, beside, check_known, check_single, integers, numbers
from simcvd.types import SimcvdError

TYPES = {
    "CHAR": "i1",
    "UCHAR": "u1",
    "SHORT": "i2",
    "USHORT": "u2",
    "INT": "i4",
    "UINT": "u4",
    "LONG": "i4",
    "ULONG": "u4",
    "LONG_LONG": "i8",
    "ULONG_LONG": "u8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}
NAMES = {code: f"MET_{name}" for name, code in TYPES.items() if "NG" not in name}
# Several names of one field, the first of them ITK's.
OFFSET = ("Offset", "Position", "Origin")
MATRIX = ("TransformMatrix", "Rotation", "Orientation")
ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
KNOWN = (
    *(*OFFSET, *MATRIX, *ORDER, "ObjectType", "NDims", "BinaryData", "CompressedData", "DimSize"),
    *("CompressedDataSize", "ElementSpacing", "ElementSize", "ElementType", "HeaderSize"),
    *("ElementNumberOfChannels", "ElementDataFile"),
)
Fields = dict[str, str]


def _fields(path: Path) -> tuple[Fields, int]:
    """The lines of a header, and where the bytes after its last one begin."""
    with path.open("rb") as file:
        start = file.read(LONGEST)
    fields: Fields = {}
    at = 0
    while "ElementDataFile" not in fields:
        end = start.find(b"\n", at)
        line = start[at : end if end >= 0 else None]
        name, equals, value = line.decode("latin-1").partition("=")
        name = name.strip()
        last = bool(equals) and name == "ElementDataFile"
        if (end < 0 and not last) or (line.strip() and not equals):
            raise SimcvdError(
                f"{path}: is not a MetaImage file, or its header is damaged (near '{line[:40]!r}')."
                " Copy it again from its origin."
            )
        check_known(path, name, KNOWN)
        if equals:
            check_single(path, name, fields)
            fields[name] = value.strip()
        at = end + 1
    return fields, at


def _first(fields: Fields, names: tuple[str, ...], default: str) -> tuple[str, str]:
    """Name and text of the first of several fields that is there."""
    found = next((name for name in names if name in fields), names[0])
    return found, fields.get(found, default)


def read_header(path: Path, what: What = "image") -> Header:
    """The header, with the geometry of its first three axes."""
    fields, start = _fields(path)
    for name in ("NDims", "DimSize", "ElementType"):
        if name not in fields:
            raise SimcvdError(f"{path}: its header has no field {name}; it is damaged.")
    (count,) = integers(path, "NDims", fields["NDims"], 1)
    if not 1 <= count <= 7:
        raise SimcvdError(f"{path}: its header claims {count} dimensions; it is damaged.")
    sizes = integers(path, "DimSize", fields["DimSize"], count)
    channels = integers(
        path, "ElementNumberOfChannels", fields.get("ElementNumberOfChannels", "1"), 1
    )
    code = TYPES.get(fields["ElementType"].upper().removeprefix("MET_"))
    if code is None:
        raise SimcvdError(f"{path}: its voxels are of an unknown type, {fields['ElementType']}.")
    order = ">" if _first(fields, ORDER, "False")[1].lower() == "true" else "<"
    dtype = np.dtype(order + code)
    return Header(
        shape=sizes if channels == (1,) else (*sizes, *channels),
        dtype=dtype,
        affine=_affine(path, fields, count),
        block=_block(path, fields, start),
        floats=dtype.kind == "f",
        colour=code == "u1" and channels[0] in (3, 4),
        source=(*channels, *sizes),
    )


def _affine(path: Path, fields: Fields, count: int) -> np.ndarray:
    """RAS+ of the first three axes; those beyond must not be mixed with them."""
    name, text = _first(fields, MATRIX, " ".join(map(str, np.eye(count).ravel())))
    axes = numbers(path, name, text, count * count).reshape(count, count).T
    name, text = _first(fields, OFFSET, "0 " * count)
    origin = numbers(path, name, text, count)
    name, text = _first(fields, ("ElementSpacing", "ElementSize"), "1 " * count)
    spacing = numbers(path, name, text, count)
    if count < 3:
        return np.eye(4)
    if axes[3:, :3].any() or axes[:3, 3:].any():
        raise SimcvdError(f"{path}: its fourth axis is mixed with the first three. Split it.")
    return affine_of(axes[:3, :3] * spacing[:3], origin[:3])


def _block(path: Path, fields: Fields, start: int) -> Block:
    if fields.get("BinaryData", "True").lower() != "true":
        raise SimcvdError(f"{path}: its voxels are written as text. Store them as binary data.")
    packed = fields.get("CompressedData", "False").lower() == "true"
    name = fields["ElementDataFile"]
    if name.upper() == "LOCAL":
        return Block(files=(path,), offset=start, coding="zlib" if packed else "raw", exact=True)
    if name.upper().startswith("LIST") or "%" in name:
        raise SimcvdError(f"{path}: keeps its voxels in a list of files. Store them in one file.")
    data = beside(path, name)
    (skip,) = integers(path, "HeaderSize", fields.get("HeaderSize", "0"), 1)
    coding: Coding = "zlib" if packed else "raw"
    return Block(files=(data,), offset=max(skip, 0), coding=coding, exact=skip >= 0)


def read_voxels(path: Path, header: Header) -> Voxels:
    """The voxels; several values a voxel become the last axis."""
    array = array_of(header, header.source)
    array = array[0] if header.source[0] == 1 else np.moveaxis(array, 0, -1)
    return Voxels(array=array, affine=header.affine)


def writer(like: Path | None) -> Write:
    """Writes labels, compressed, as ``.mha`` or as ``.mhd`` with a ``.zraw`` beside it."""

    def write(path: Path, labels: np.ndarray, affine: np.ndarray, names: Mapping[int, str]) -> None:
        data = zlib.compress(np.asarray(labels, order="F").tobytes("F"), 4)
        detached = path.suffix.lower() == ".mhd"
        raw = path.with_suffix(".zraw")
        fields = _written(labels, affine, len(data), raw.name if detached else "LOCAL")
        text = "".join(f"{name} = {value}\n" for name, value in fields.items()).encode()
        if detached:
            write_bytes(raw, data)
        write_bytes(path, text if detached else text + data)

    return write


def _written(labels: np.ndarray, affine: np.ndarray, size: int, data: str) -> Fields:
    lps = LPS @ affine
    spacing = np.array(spacing_of(affine))
    return {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(size),
        "TransformMatrix": _text((lps[:3, :3] / spacing).T),
        "Offset": _text(lps[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _text(spacing),
        "DimSize": _text(np.array(labels.shape)),
        "ElementType": NAMES[labels.dtype.str[1:]],
        "ElementDataFile": data,
    }


def _text(values: np.ndarray) -> str:
    return " ".join(f"{value + 0.0:.17g}" for value in values.ravel())


METAIMAGE = Format(
    key="mha",
    suffixes=(".mha", ".mhd"),
    header=read_header,
    voxels=read_voxels,
    files=lambda path: read_header(path).files(path),
    endings=(".mha", ".mhd"),
    writer=writer,
)
