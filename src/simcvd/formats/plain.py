"""Voxels of formats that keep them as one block of numbers, the first axis running fastest."""

from __future__ import annotations

from math import prod

import numpy as np

from simcvd.formats.packed import unpacked
from simcvd.formats.record import Header


def array_of(header: Header, stored: tuple[int, ...] | None = None) -> np.ndarray:
    """The array of a header's block, in the machine's byte order.

    stored: the sizes in the file's order of axes, where that is not the header's.
    """
    shape = stored or header.shape
    assert header.block is not None
    data = unpacked(header.block, prod(shape) * header.dtype.itemsize)
    array = data.view(header.dtype).reshape(shape, order="F")
    return array.astype(header.dtype.newbyteorder("="), copy=False)
