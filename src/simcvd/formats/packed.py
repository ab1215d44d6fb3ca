"""Blocks of voxels as they lie in files, plain or compressed, every checksum verified to the end.

nibabel stops before gzip's CRC and MetaIO prints a failure and goes on, so damaged scans pass
through both; here no byte is given out as sound before the last checksum has been seen.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Coding = Literal["raw", "gzip", "zlib", "bz2", "text"]
# The most bytes that one byte of a file can become: by deflate's longest match; by bzip2, whose
# blocks of 900 kB take 40 bytes at least; one digit and a space are a number of up to 8 bytes.
MOST: dict[Coding, int] = {"raw": 1, "gzip": 1032, "zlib": 1032, "bz2": 23000, "text": 4}
# Bytes taken at a time, so that the most that they can become stays a small piece.
CHUNK, LARGEST = 1 << 14, 1 << 24
# Bytes after the voxels that some programs pad uncompressed files with.
PADDING = 4096


class Damaged(ValueError):
    """Stored voxels are not what their header or their checksum says."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Where voxels lie: after ``offset`` bytes of each file.

    packed_header: the offset counts unpacked bytes, since the header is packed, too (``.nii.gz``).
    exact: whether anything after the voxels is a sign of damage.
    """

    files: tuple[Path, ...]
    offset: int = 0
    coding: Coding = "raw"
    packed_header: bool = False
    exact: bool = False

    @property
    def capacity(self) -> int:
        """The most bytes that can come out of it."""
        before = 0 if self.packed_header else self.offset
        there = sum(max(path.stat().st_size - before, 0) for path in self.files)
        return MOST[self.coding] * there


def unpacked(block: Block, size: int) -> np.ndarray:
    """The ``size`` bytes of a block, uint8. Raises Damaged for fewer, more, or a false checksum."""
    if block.coding == "raw" and len(block.files) == 1:
        return _plain(block, size)
    out = np.empty(size, np.uint8)
    skip = block.offset if block.packed_header else 0
    filled = extra = 0
    for piece in _pieces(block):
        part = np.frombuffer(piece, np.uint8)[skip:]
        skip = max(skip - len(piece), 0)
        part, rest = part[: size - filled], part[size - filled :]
        out[filled : filled + len(part)] = part
        filled, extra = filled + len(part), extra + len(rest)
        _check_extra(block, extra)
    if filled < size:
        raise Damaged(f"it ends after {filled} of {size} bytes of voxels")
    return out


def beginning(path: Path, coding: Coding, size: int) -> bytes:
    """The first ``size`` bytes, or fewer, of what a file holds; no checksum is looked at."""
    found = bytearray()
    for piece in _pieces(Block(files=(path,), coding=coding)):
        found += piece
        if len(found) >= size:
            break
    return bytes(found[:size])


def _plain(block: Block, size: int) -> np.ndarray:
    (path,) = block.files
    _check_extra(block, path.stat().st_size - block.offset - size)
    array = np.fromfile(path, np.uint8, size, offset=block.offset)
    if len(array) < size:
        raise Damaged(f"it ends after {len(array)} of {size} bytes of voxels")
    return array


def _check_extra(block: Block, extra: int) -> None:
    if extra > (0 if block.exact else PADDING):
        raise Damaged("it holds more than the voxels that its header announces")


def _pieces(block: Block) -> Iterator[bytes]:
    for path in block.files:
        with path.open("rb") as file:
            file.seek(0 if block.packed_header else block.offset)
            chunks = iter(lambda file=file: file.read(CHUNK), b"")  # type: ignore[misc]
            yield from _DECODE[block.coding](chunks)


def _deflated(chunks: Iterator[bytes], window: int) -> Iterator[bytes]:
    """zlib (window 15) or gzip (31), of one or more members; zeros may follow the last."""
    decoder = zlib.decompressobj(window)
    for chunk in chunks:
        while chunk:
            if decoder.eof:
                if not (chunk := chunk.lstrip(b"\0")):
                    break
                decoder = zlib.decompressobj(window)
            yield decoder.decompress(chunk)
            chunk = decoder.unused_data
    if not decoder.eof:
        raise Damaged("its compressed part ends too early; it may be truncated")


def _bunzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """bzip2, of one or more streams; each piece is bounded, since a stream can grow 20,000-fold."""
    decoder = bz2.BZ2Decompressor()
    for chunk in chunks:
        if decoder.eof:
            decoder = bz2.BZ2Decompressor()
        yield decoder.decompress(chunk, LARGEST)
        while not decoder.needs_input:
            rest = decoder.unused_data if decoder.eof else b""
            if decoder.eof and not rest:
                break
            decoder = bz2.BZ2Decompressor() if decoder.eof else decoder
            yield decoder.decompress(rest, LARGEST)
    if not decoder.eof:
        raise Damaged("its compressed part ends too early; it may be truncated")


_DECODE: dict[Coding, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    "raw": iter,
    "text": iter,
    "gzip": lambda chunks: _deflated(chunks, 31),
    "zlib": lambda chunks: _deflated(chunks, 15),
    "bz2": _bunzipped,
}
