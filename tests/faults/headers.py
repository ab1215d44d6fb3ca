"""Headers with hostile values, drawn by Hypothesis: sizes, types, spacings, places of voxels."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from hypothesis import strategies as st
from tests.faults.samples import Sample

NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 100, 2**15 - 1, 2**16, 2**31 - 1, 2**31, -(2**63), 10**30]),
    st.sampled_from([0.0, -1.0, 1e-30, 1e-6, 1e6, 1e38, float("nan"), float("inf")]),
    st.integers(-10, 2000),
)
PLACES = st.sampled_from(["/etc/passwd", "../../../etc/passwd", "/dev/zero", "LIST", "LOCAL", ""])
WORDS = st.one_of(NUMBERS.map(str), PLACES, st.text(max_size=12).map(lambda t: t.replace("\n", "")))
VALUES = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)
# Offset and type of a NIfTI-1 header's fields: sizeof_hdr, dim, datatype, bitpix, pixdim,
# vox_offset, scl_slope, scl_inter, xyzt_units, qform_code, sform_code, srow_x.
NIFTI = [(0, "i"), *((40 + 2 * i, "h") for i in range(8)), (70, "h"), (72, "h")]
NIFTI += [*((76 + 4 * i, "f") for i in range(8)), (108, "f"), (112, "f"), (116, "f"), (123, "B")]
NIFTI += [(252, "h"), (254, "h"), *((280 + 4 * i, "f") for i in range(12)), (344, "4s")]
RANGES = {"i": 31, "h": 15, "B": 8}
BINARIES = ("nii", "img")
TEXTS = ("nrrd", "nrrd-gzip", "nhdr", "mha", "mha-zlib", "mhd")
FIELD = re.compile(rb"^([A-Za-z ]+)(\s*[=:]\s*)(.*)$", re.MULTILINE)


@st.composite
def binary(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Some fields of a NIfTI header: offset and new bytes."""
    fields = draw(st.lists(st.sampled_from(NIFTI), min_size=1, max_size=4))
    return [(offset, _packed(kind, draw(NUMBERS))) for offset, kind in fields]


@st.composite
def textual(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Some fields of a text header, by number: a new value, and whether it is there at all."""
    values = st.tuples(st.integers(0, 30), VALUES.map(lambda v: v.encode("utf-8", "replace")))
    return draw(st.lists(values, min_size=1, max_size=4))


def write_binary(sample: Sample, changes: list[tuple[int, bytes]], scan: Path) -> None:
    """Write the fields into the header of ``scan``, a copy of the sample's."""
    header = scan.with_suffix(".hdr") if sample.format == "img" else scan
    data = bytearray(header.read_bytes())
    for offset, new in changes:
        data[offset : offset + len(new)] = new
    header.write_bytes(data)


def write_textual(changes: list[tuple[int, bytes]], scan: Path) -> None:
    """Change the fields of the text header of ``scan``."""
    data = scan.read_bytes()
    for number, value in changes:
        fields = list(FIELD.finditer(data[:1000]))
        if fields:
            field = fields[number % len(fields)]
            data = data[: field.start(3)] + value + data[field.end(3) :]
    scan.write_bytes(data)


def _packed(kind: str, value: float) -> bytes:
    if kind == "4s":
        return b"n+2\0"
    if kind == "f":
        try:
            return struct.pack("<f", value)
        except OverflowError:
            return struct.pack("<f", float("inf"))
    whole = int(value) if abs(value) < 2**80 else 0  # NaN and infinity are 0, too
    bits = RANGES[kind]
    low, high = (0, 2**bits - 1) if kind == "B" else (-(2**bits), 2**bits - 1)
    return struct.pack(f"<{kind}", max(low, min(high, whole)))
