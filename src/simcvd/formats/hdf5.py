"""The left-atrium benchmark's ``<case>/mri_norm2.h5``, which holds ``image`` and ``label``.

An HDF5 file says nothing of a voxel's size. That benchmark's is known from its challenge; any
other file is refused rather than guessed at. HDF5 is read in a child process.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.formats.child import ask
from simcvd.formats.guard import readable
from simcvd.formats.record import Format, Header, Voxels, What
from simcvd.plugins import optional
from simcvd.types import SimcvdError, Triple

LA_FILE = "mri_norm2.h5"
LA_SPACING: Triple = (0.625, 0.625, 0.625)
# Filters of HDF5 pack at most as deflate does; a chunk is unpacked as a whole.
MOST, LARGEST_CHUNK = 1032, 1 << 28
HERE = "simcvd.formats.hdf5"


def read_header(path: Path, what: What = "image") -> Header:
    """Shape and type of ``image`` or ``label``."""
    if path.name.lower() != LA_FILE:
        raise SimcvdError(
            f"{path}: an h5 file does not say how large its voxels are, nor how they lie; of "
            f"such files only the left-atrium benchmark's <case>/{LA_FILE} is known. Convert it "
            "to NIfTI with the right voxel size."
        )
    shape, dtype = ask(path, f"{HERE}:described", what)
    return Header(
        shape=shape,
        dtype=np.dtype(dtype),
        affine=np.diag([*LA_SPACING, 1.0]),
        floats=np.dtype(dtype).kind == "f",
        source=what,
    )


def read_voxels(path: Path, header: Header) -> Voxels:
    """The whole data set."""
    return Voxels(array=ask(path, f"{HERE}:taken", header.source), affine=header.affine)


def has_label(path: Path) -> bool:
    """Whether the benchmark's file at ``path`` holds a ``label``; raises SimcvdError if damaged."""
    with readable(path):
        return "label" in ask(path, f"{HERE}:names")


def names(path: str) -> list[str]:
    """The names at the top of a file."""
    with _h5py(path).File(path, "r") as file:
        return list(file)


def described(path: str, what: str) -> tuple[tuple[int, ...], str]:
    """Shape and type of a data set whose voxels lie in this very file."""
    with _h5py(path).File(path, "r") as file:
        found = _dataset(path, file, what)
        return tuple(found.shape), found.dtype.str


def taken(path: str, what: str) -> np.ndarray:
    """A data set as an array."""
    with _h5py(path).File(path, "r") as file:
        array: np.ndarray = _dataset(path, file, what)[()]
        return array


def _h5py(path: str) -> Any:
    return optional("h5py", "hdf5", path)


def _dataset(path: str, file: Any, what: str) -> Any:
    h5py = _h5py(path)
    if what not in file:
        raise SimcvdError(
            f"{path}: has no data set '{what}' (it has: {', '.join(file) or 'none'}). "
            "The LA benchmark's h5 files hold 'image' and 'label'."
        )
    if not isinstance(file.get(what, getlink=True), h5py.HardLink):
        raise SimcvdError(f"{path}: its '{what}' is a link to elsewhere, which is not followed.")
    found = file[what]
    if not isinstance(found, h5py.Dataset) or found.shape is None or not found.dtype.kind:
        raise SimcvdError(f"{path}: its '{what}' is not an array.")
    if found.external or found.is_virtual:
        raise SimcvdError(
            f"{path}: its '{what}' lies in other files, which are not opened. Store it in one file."
        )
    claimed, stored = prod(found.shape) * found.dtype.itemsize, found.id.get_storage_size()
    chunk = prod(found.chunks or (0,)) * found.dtype.itemsize
    if claimed > MOST * stored or chunk > max(LARGEST_CHUNK, 8 * claimed):
        raise SimcvdError(
            f"{path}: its '{what}' claims {claimed} bytes of voxels, more than the {stored} bytes "
            "stored for it can hold. It may be damaged; copy it again from its origin."
        )
    return found


HDF5 = Format(
    key="h5",
    suffixes=(".h5", ".hdf5"),
    header=read_header,
    voxels=read_voxels,
    answer="nifti",
    mendable=False,
)
