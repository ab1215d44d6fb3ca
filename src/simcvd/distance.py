"""Signed distance maps (SDM), the shape information that SimCVD's second head learns.

Everything is exact and Euclidean. ``scipy`` does the work, ``edt`` when it is installed: it is
many times faster and gives the same numbers.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from simcvd.types import SimcvdError

Box = tuple[slice, ...]


def signed_distance(label: np.ndarray, classes: int) -> np.ndarray:
    """Signed distance map of every foreground class, each against all the rest.

    label: ``[X, Y, Z]`` integers 0..classes-1. Returns ``[F, X, Y, Z]`` float32 in [-1, 1].

    Distances are in voxels to the nearest voxel of the other side: negative inside, positive
    outside, and each side is divided by its own maximum. The inner boundary (voxels of the class
    that have one of another class among their 6 neighbours; the edge of the array is no boundary)
    is set to 0. So do the published scripts of SASSNet and DTC; METHODS.md, "SDM".

    A class absent from the scan has no boundary: all of it lies outside, at +1, the value of the
    furthest voxel, so no zero suggests a boundary that is not there. A class filling the scan is
    -1 everywhere, for the same reason.
    """
    if label.ndim != 3 or label.dtype.kind not in "iub":
        raise SimcvdError(
            f"A signed distance map needs a [X, Y, Z] label of integers, but got shape "
            f"{label.shape} of {label.dtype}. Give one label map of one scan."
        )
    if classes < 2:
        raise SimcvdError(f"classes={classes} leaves no foreground class: give 2 or more.")
    return np.stack([_signed(label == k) for k in range(1, classes)])


def bounding_box(mask: np.ndarray, margin: int = 0) -> Box:
    """Smallest box of slices that holds a mask, which must not be empty, grown by ``margin``.

    The box is clipped at the edges of the array.
    """
    box = []
    for axis, size in enumerate(mask.shape):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        where = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(where[0] - margin, 0), min(where[-1] + 1 + margin, size)))
    return tuple(box)


def distance_to(target: np.ndarray) -> np.ndarray:
    """Distance in voxels from every voxel to the nearest true one of ``target``, 0 on it.

    target: boolean, not empty. Returns float32 of the same shape.
    """
    try:
        import edt
    except ImportError:
        return ndimage.distance_transform_edt(~target).astype(np.float32)
    return edt.edt(np.asfortranarray(~target), black_border=False)


def _signed(mask: np.ndarray) -> np.ndarray:
    """Signed distance map of one class, ``[X, Y, Z]`` boolean -> float32 in [-1, 1]."""
    if not mask.any():
        return np.ones(mask.shape, np.float32)
    if mask.all():
        return -np.ones(mask.shape, np.float32)
    signed = distance_to(mask)
    signed /= signed.max()
    # The voxel nearest to one inside never lies beyond the box grown by one: a voxel further out
    # has a background voxel of that margin in between. So the inside is exact within the box.
    box = bounding_box(mask, margin=1)
    inside = distance_to(~mask[box])
    depth = inside.max()
    inside[inside == 1] = 0  # exactly the voxels with a 6-neighbour on the other side
    signed[box] -= inside / depth
    return signed
