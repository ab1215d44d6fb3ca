"""What every header's claims are held against, whatever the format, before a voxel is read."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from simcvd.formats.geometry import spacing_of
from simcvd.formats.record import Header, Remark
from simcvd.machine import free_memory
from simcvd.ranges import SPACINGS
from simcvd.types import SimcvdError

# No patient and no table is longer, mm; a wrong unit of length is.
LONGEST = 1e5
# Volume between axes of length 1 that are still three: 6 degrees off a plane.
FLATTEST = 0.1
# Degrees by which axes may miss the right angle: rounding below the first, wrong above the second.
SKEW_ROUNDING = 0.1
SKEW_WRONG = 1.0
KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def is_regular(path: Path) -> bool:
    """Whether a path leads to a plain file, which can be opened without waiting for anybody."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def check_openable(path: Path) -> None:
    """Refuse what is not there, is empty, or is a pipe, a socket or a device."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise SimcvdError(f"{path}: there is no such file.") from error
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        raise SimcvdError(f"{path}: is {kind}, which is not opened. Give a file.")
    if status.st_size == 0:
        raise SimcvdError(f"{path}: the file is empty (0 bytes). Copy it again from its origin.")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns any failure of reading ``path`` into one clear sentence: damaged files raise anything.

    Raises SimcvdError in place of every exception.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            yield
    except SimcvdError:
        raise
    except MemoryError as error:
        raise SimcvdError(
            f"{path}: reading it needs more memory than there is. Close other programs, take a "
            "machine with more memory, or cut the scan to the part of interest."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        size = f"The file is {path.stat().st_size} bytes; it" if path.is_file() else "It"
        raise SimcvdError(
            f"{path}: cannot be read ({reason}). {size} may be truncated, damaged or of another "
            "format. Copy it again from its origin."
        ) from error


def check_claims(path: Path, header: Header) -> None:
    """Refuse a header whose claims no sound file of this size and no scan can make."""
    if header.colour or header.dtype.fields:
        raise SimcvdError(
            f"{path}: is a colour image; a scan with one intensity a voxel is needed."
        )
    if header.dtype.kind not in "iufb":
        raise SimcvdError(f"{path}: its voxels are {header.dtype}; real numbers are needed.")
    if min(header.shape, default=0) < 1:
        raise SimcvdError(f"{path}: its header claims a shape of {header.shape}; it is damaged.")
    _check_size(path, header)
    if len(header.shape) >= 3:
        check_affine(path, header.affine, header.shape)


def check_affine(path: Path, affine: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse a geometry that no scan has: not finite, flat, or of no sensible size."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise SimcvdError(
            f"{path}: its affine has no inverse: {affine.tolist()}. Repair the header's geometry."
        )
    spacing = spacing_of(affine)
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < FLATTEST:
        raise SimcvdError(
            f"{path}: its axes lie nearly in one plane: {affine.tolist()}. Repair the header's "
            "geometry."
        )
    sides = [n * step for n, step in zip(shape, spacing, strict=False)]
    if not all(s in SPACINGS for s in spacing) or max(sides) > LONGEST:
        raise SimcvdError(
            f"{path}: its header claims voxels of {' x '.join(f'{s:.4g}' for s in spacing)} mm in "
            f"a volume {max(sides):.4g} mm long, which no scan has (voxels of "
            f"{SPACINGS.least:g} to {SPACINGS.most:g} mm are read). Repair the header: "
            "its unit of length may be wrong."
        )


def _check_size(path: Path, header: Header) -> None:
    claimed = prod(header.shape) * header.dtype.itemsize
    if header.block is not None and claimed > header.block.capacity:
        stored = sum(file.stat().st_size for file in header.block.files)
        raise SimcvdError(
            f"{path}: cannot be read: its header claims {claimed} bytes of voxels, more than its "
            f"{stored} bytes can hold. It may be truncated; copy it again from its origin."
        )
    check_memory(path, prod(header.shape), header.dtype.itemsize)


def check_memory(path: Path, voxels: int, itemsize: int) -> None:
    """Refuse what does not fit into the free memory as stored and as float32 together."""
    needed, free = voxels * (itemsize + 4), free_memory()
    if needed > free:
        raise SimcvdError(
            f"{path}: reading it needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB "
            "are free. Take a machine with more memory, or cut the scan to the part of interest."
        )


def axes_remarks(path: Path, affine: np.ndarray) -> tuple[Remark, ...]:
    """Axes that are not at right angles: distances and volumes measured on them are wrong."""
    unit = affine[:3, :3] / spacing_of(affine)
    skew = np.degrees(np.arcsin(np.abs(unit.T @ unit - np.eye(3)).max().clip(0, 1)))
    if skew <= SKEW_ROUNDING:
        return ()
    return (
        (
            "error" if skew > SKEW_WRONG else "warning",
            "axes",
            f"{path}: its axes are sheared, {skew:.2g} degrees off the right angle. Resample the "
            "scan to an orthogonal grid, or repair its header.",
        ),
    )
