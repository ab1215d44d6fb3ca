"""NRRD: ``.nrrd``, ``.nhdr`` with its data file, and Slicer's ``.seg.nrrd`` with named segments.

Fields as in the format's definition, https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from simcvd.colours import class_colour
from simcvd.files import write_bytes
from simcvd.formats.geometry import LPS
from simcvd.formats.packed import Block, Coding
from simcvd.formats.plain import array_of
from simcvd.formats.record import Format, Header, Voxels, What, Write
from simcvd.formats.segments import Layered, merged, numbered
from simcvd.formats.text import LONGEST, beside, check_single, integers, numbers
from simcvd.types import Segment, SimcvdError

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
CODES = {name: code for code, names in TYPES.items() for name in names}
CODINGS: dict[str, Coding] = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bz2",
    "bz2": "bz2",
    "ascii": "text",
    "text": "text",
    "txt": "text",
}
# Signs that turn the first two axes of a space to right and anterior; ITK takes others for LPS.
SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1)),
}
MILLIMETRES = {"m": 1e3, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "nm": 1e-6}
FIELDS = {
    *("dimension", "type", "sizes", "encoding", "endian", "content", "min", "max", "number"),
    *("space", "units", "spacings", "thicknesses", "centers", "centerings", "labels", "kinds"),
    *("block size", "blocksize", "old min", "oldmin", "old max", "oldmax", "data file"),
    *("datafile", "line skip", "lineskip", "byte skip", "byteskip", "sample units", "sampleunits"),
    *("axis mins", "axismins", "axis maxs", "axismaxs", "space dimension", "space units"),
    *("space origin", "space directions", "measurement frame"),
}
Fields = dict[str, str]


def _fields(path: Path) -> tuple[Fields, Fields, int]:
    """Fields, key/value pairs, and where the bytes after the blank line begin (-1 without one)."""
    with path.open("rb") as file:
        start = file.read(LONGEST)
    if not re.match(rb"NRRD000[1-6]\r?\n", start):
        raise SimcvdError(f"{path}: is not an NRRD file of versions 1 to 6; it may be damaged.")
    fields: Fields = {}
    pairs: Fields = {}
    at, end = start.index(b"\n") + 1, -1
    while at < len(start):
        stop = start.find(b"\n", at)
        line = start[at : stop if stop >= 0 else None].decode("utf-8", "replace").rstrip("\r")
        at = stop + 1 if stop >= 0 else len(start)
        if not line:
            end = at
            break
        field, colon, value = line.partition(": ")
        key, equals, text = line.partition(":=")
        if line.startswith("#"):
            continue
        if equals and len(key) < len(field):
            pairs[key] = text
        elif colon and field.lower() in FIELDS:
            check_single(path, field.lower(), fields)
            fields[field.lower()] = value.strip()
        else:
            raise SimcvdError(
                f"{path}: its header has a line that NRRD does not know, '{line:.60}'; it may be "
                "damaged. Copy the file again from its origin."
            )
        if field.lower() in ("data file", "datafile") and value.startswith("LIST"):
            raise SimcvdError(f"{path}: keeps its voxels in a list of files. Store them in one.")
    return fields, pairs, end


def read_header(path: Path, what: What = "image") -> Header:
    """The header; axes that are none of space (colours, layers, time) are put last."""
    fields, pairs, end = _fields(path)
    for name in ("dimension", "type", "sizes", "encoding"):
        if name not in fields:
            raise SimcvdError(f"{path}: its header has no field '{name}'; it is damaged.")
    (count,) = integers(path, "dimension", fields["dimension"], 1)
    if not 1 <= count <= 16:
        raise SimcvdError(f"{path}: its header claims {count} dimensions; it is damaged.")
    sizes = integers(path, "sizes", fields["sizes"], count)
    code = CODES.get(fields["type"].lower())
    if code is None:
        raise SimcvdError(f"{path}: its voxels are of an unknown type, '{fields['type']:.40}'.")
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    dtype = np.dtype(order + code)
    kinds = fields.get("kinds", "").lower().split() or ["?"] * count
    axes, affine, notes = _geometry(path, fields, count, kinds)
    others = [axis for axis in range(count) if axis not in axes]
    layers = [sizes[axis] for axis in others]
    segments = numbered(_segments(path, pairs), prod(layers))
    colour = any("color" in kind for kind in kinds) or (code == "u1" and others == [0])
    return Header(
        shape=tuple(sizes[axis] for axis in (*axes, *others)),
        dtype=dtype,
        affine=affine,
        block=_block(path, fields, end),
        floats=dtype.kind == "f",
        colour=colour and layers in ([3], [4]) and what == "image",
        partial=bool(segments),
        segments=tuple(s.named for s in segments),
        notes=notes,
        source=(sizes, (*axes, *others), segments if what == "label" else ()),
    )


def _geometry(
    path: Path, fields: Fields, count: int, kinds: list[str]
) -> tuple[list[int], np.ndarray, tuple[str, ...]]:
    """The axes of space, the affine (RAS+ mm), and notes."""
    if "space directions" in fields:
        vectors = _vectors(path, "space directions", fields["space directions"])
        if len(vectors) != count:
            raise SimcvdError(f"{path}: it has {count} axes, but {len(vectors)} space directions.")
        axes = [axis for axis, vector in enumerate(vectors) if vector is not None][:3]
        origin = (_vectors(path, "space origin", fields.get("space origin", "")) or [None])[0]
        matrix = np.array([np.pad(vectors[a], (0, 3))[:3] for a in axes]).T  # type: ignore[arg-type]
        start = np.zeros(3) if origin is None else np.pad(origin, (0, 3))[:3]
    else:
        known = [axis for axis, kind in enumerate(kinds) if kind in ("domain", "space")]
        axes = (known if len(known) >= 3 else list(range(count)))[:3]
        matrix, start = np.eye(3), np.zeros(3)
        if "spacings" in fields:
            steps = fields["spacings"].split()
            given = [steps[a] if a < len(steps) else "1" for a in axes]
            spacing = numbers(path, "spacings", " ".join(given).lower().replace("nan", "1"))
            matrix = np.diag(np.pad(spacing, (0, 3 - len(axes)), constant_values=1.0))
        if "axis mins" in fields or "axismins" in fields:
            low = (fields.get("axis mins") or fields["axismins"]).split()
            given = [low[a] if a < len(low) else "0" for a in axes]
            start = numbers(path, "axis mins", " ".join(given).lower().replace("nan", "0"))
    if len(axes) < 3:
        return axes, np.eye(4), ()
    space = fields.get("space", "").lower().removesuffix("-time").removesuffix("t")
    x, y = SPACES.get(space, (-1, -1))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, start
    unit = (re.findall(r'"([^"]*)"', fields.get("space units", "")) or ["mm"])[0].strip().lower()
    scale = MILLIMETRES.get(unit, 1.0)
    note = f"{path}: its lengths are in units of {scale:g} mm; they were converted to mm."
    return axes, np.diag([scale * x, scale * y, scale, 1.0]) @ affine, (note,) * (scale != 1)


def _vectors(path: Path, field: str, text: str) -> list[np.ndarray | None]:
    """``(1,0,0) none (0,1,0)`` as vectors, None for none."""
    parts = re.findall(r"none|\([^()]*\)", text)
    if re.sub(r"none|\([^()]*\)|\s", "", text):
        raise SimcvdError(f"{path}: its field '{field}' holds no vectors, but '{text:.60}'.")
    return [
        None if part == "none" else numbers(path, field, part[1:-1].replace(",", " "))
        for part in parts
    ]


def _block(path: Path, fields: Fields, end: int) -> Block:
    coding = CODINGS.get(fields["encoding"].lower())
    if coding is None:
        raise SimcvdError(f"{path}: its voxels are encoded as '{fields['encoding']:.40}'.")
    skips = [fields.get("byte skip", fields.get("byteskip", "0"))]
    skips.append(fields.get("line skip", fields.get("lineskip", "0")))
    if set(skips) != {"0"}:
        raise SimcvdError(f"{path}: skips a part of its data file. Store the voxels alone.")
    name = fields.get("data file") or fields.get("datafile")
    if name is None:
        if end < 0:
            raise SimcvdError(f"{path}: its header does not end; it may be truncated.")
        return Block(files=(path,), offset=end, coding=coding, exact=True)
    if "%" in name:
        raise SimcvdError(f"{path}: keeps its voxels in a list of files. Store them in one file.")
    return Block(files=(beside(path, name),), coding=coding, exact=True)


def _segments(path: Path, pairs: Fields) -> tuple[Layered, ...]:
    """The segments that Slicer writes as ``Segment0_Name:=left`` and the like."""
    numbered = sorted({int(m[1]) for key in pairs if (m := re.match(r"Segment(\d{1,6})_", key))})
    found = []
    for number in numbered:

        def of(field: str, default: str = "", number: int = number) -> str:
            return pairs.get(f"Segment{number}_{field}", default).strip()

        value = integers(path, "LabelValue", of("LabelValue", str(number + 1)), 1)[0]
        layer = integers(path, "Layer", of("Layer", "0"), 1)[0]
        code = re.search(r"TerminologyEntry:[^~|]*~[^~|]*~([^~|^]*)\^([^~|^]*)", of("Tags"))
        name = of("Name") or of("ID") or f"segment {number}"
        named = Segment(value=value, name=name, code=" ".join(code.groups()) if code else "")
        found.append(Layered(named=named, layer=layer, stored=value))
    return tuple(found)


def read_voxels(path: Path, header: Header) -> Voxels:
    """The voxels; layers of segments are put together into one label map."""
    sizes, order, segments = header.source
    assert header.block is not None
    if header.block.coding == "text":
        array = _typed_out(path, header, sizes)
    else:
        array = array_of(header, sizes)
    array = array.transpose(order)
    if not segments:
        return Voxels(array=array, affine=header.affine)
    return Voxels(array=merged(path, array, segments), affine=header.affine)


def _typed_out(path: Path, header: Header, sizes: tuple[int, ...]) -> np.ndarray:
    """Voxels that are written as text."""
    assert header.block is not None
    text = header.block.files[0].read_bytes()[header.block.offset :].decode("latin-1")
    values = numbers(path, "voxels", text, int(np.prod(sizes)))
    return values.reshape(sizes, order="F").astype(header.dtype.newbyteorder("="))


def writer(like: Path | None) -> Write:
    """Writes labels, compressed, with their names, as ``.nrrd`` or as ``.nhdr`` and ``.raw.gz``."""

    def write(path: Path, labels: np.ndarray, affine: np.ndarray, names: Mapping[int, str]) -> None:
        data = gzip.compress(labels.tobytes("F"), 4, mtime=0)
        detached = path.suffix.lower() == ".nhdr"
        raw = path.with_suffix(".raw.gz")
        text = _written(labels, LPS @ affine, names) + (f"data file: {raw.name}\n" * detached)
        if detached:
            write_bytes(raw, data)
        write_bytes(path, text.encode() + (b"" if detached else b"\n" + data))

    return write


def _written(labels: np.ndarray, lps: np.ndarray, names: Mapping[int, str]) -> str:
    def vector(values: np.ndarray) -> str:
        return "(" + ",".join(f"{value + 0.0:.17g}" for value in values) + ")"

    # Without an extent Slicer warns; it takes the first segment's for all of a layer.
    extent = " ".join(f"0 {size - 1}" for size in labels.shape)
    segments = [
        line
        for number, (value, name) in enumerate((v, n) for v, n in names.items() if v)
        for line in (
            f"Segment{number}_ID:=Segment_{number}",
            f"Segment{number}_Name:={' '.join(name.split())}",
            f"Segment{number}_Color:={_shares(class_colour(number + 1))}",
            f"Segment{number}_LabelValue:={value}",
            f"Segment{number}_Layer:=0",
            f"Segment{number}_Extent:={extent}",
        )
    ]
    lines = [
        "NRRD0005",
        f"type: {TYPES[labels.dtype.str[1:]][-1].removesuffix('_t')}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, labels.shape))}",
        f"space directions: {' '.join(vector(column) for column in lps[:3, :3].T)}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {vector(lps[:3, 3])}",
        *segments,
    ]
    return "\n".join(lines) + "\n"


def _shares(colour: str) -> str:
    """``#rrggbb`` as three shares of 1, as Slicer has colours."""
    return " ".join(f"{byte / 255:.4g}" for byte in bytes.fromhex(colour[1:]))


NRRD = Format(
    names_classes=True,
    key="nrrd",
    suffixes=(".nrrd", ".nhdr"),
    header=read_header,
    voxels=read_voxels,
    files=lambda path: read_header(path).files(path),
    endings=(".nrrd", ".nhdr"),
    writer=writer,
)
# The same file under the name by which Slicer takes it for a segmentation, not for a scan.
SEG_NRRD = replace(
    NRRD, key="seg-nrrd", suffixes=(".seg.nrrd", ".seg.nhdr"), endings=(".seg.nrrd", ".seg.nhdr")
)
