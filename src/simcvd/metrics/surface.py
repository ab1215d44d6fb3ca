"""Distances between the surfaces of two masks.

A surface is the set of a mask's voxels that have a voxel outside it among their 6 neighbours; what
lies beyond the edge of the array counts as outside. So do MedPy and MONAI. `surface_distances`
does the costly part once, for both directions; the metrics are short functions that read its
record, each named by its convention, because one pair of masks can have a 95HD of 4 by one and of
29 by another.

Distances are searched for at surface voxels only, not by a distance transform of the volume, of
which a surface is a thin part. They are exact at any spacing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from simcvd.distance import bounding_box
from simcvd.types import SimcvdError, Triple

VOXELS: Triple = (1.0, 1.0, 1.0)
REACH = 3  # voxels; the fastest of 0 to 6 on the left atrium and on an abdominal organ


@dataclass(frozen=True, kw_only=True)
class Surfaces:
    """Voxel indices of both surfaces: ``[P, 3]`` and ``[R, 3]`` int64, neither of them empty."""

    prediction: np.ndarray
    reference: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """Distance of every surface voxel to the other mask's nearest one, in the spacing's unit.

    to_reference: ``[P]``, from the prediction's surface voxels to the reference's surface.
    to_prediction: ``[R]``, from the reference's surface voxels to the prediction's surface.

    Examples:
        The prediction lies on the reference and leaves out a voxel that is 10 away. Of 0, 0 and 10
        the percentile lies nine tenths of the way from the second to the third; the worse direction
        has the 10 alone; the one-way mean does not see it.

        >>> found = SurfaceDistances(to_reference=np.zeros(2), to_prediction=np.array([10.0]))
        >>> hd95_pooled(found), hd95_directed_max(found)
        (9.0, 10.0)
        >>> asd_prediction_to_reference(found), round(assd(found), 3)
        (0.0, 3.333)
    """

    to_reference: np.ndarray
    to_prediction: np.ndarray

    @property
    def pooled(self) -> np.ndarray:
        """``[P + R]``, both directions in one list."""
        return np.concatenate([self.to_reference, self.to_prediction])


def surface_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: Triple = VOXELS
) -> SurfaceDistances:
    """Both directed sets of surface distances of two masks, ``[X, Y, Z]`` boolean.

    spacing: voxel size along the three axes, in mm for distances in mm; by default distances are
    in voxels. Raises SimcvdError for masks of different shapes and when one of them is empty,
    where no distance is defined.

    Examples:
        Two voxels that are three slices of 2 mm apart:

        >>> prediction, reference = np.zeros((2, 1, 1, 5), bool)
        >>> prediction[0, 0, 0] = reference[0, 0, 3] = True
        >>> surface_distances(prediction, reference, (1.0, 1.0, 2.0)).pooled.tolist()
        [6.0, 6.0]
    """
    return distances_between(find_surfaces(prediction, reference), spacing)


def find_surfaces(prediction: np.ndarray, reference: np.ndarray) -> Surfaces:
    """The surface voxels of two masks, ``[X, Y, Z]`` boolean; errors as `surface_distances`.

    Examples:
        A cube of 3 voxels a side has one inside, and 26 on its surface:

        >>> cube = np.ones((3, 3, 3), bool)
        >>> surfaces = find_surfaces(cube, cube)
        >>> len(surfaces.reference), assd(distances_between(surfaces))
        (26, 0.0)
    """
    if prediction.shape != reference.shape:
        raise SimcvdError(
            f"The prediction has shape {prediction.shape}, the reference {reference.shape}: "
            "bring both to one grid before comparing them."
        )
    for name, mask in (("prediction", prediction), ("reference", reference)):
        if not mask.any():
            raise SimcvdError(
                f"The {name} is empty, so its surface distances are undefined: "
                "report the case as a miss instead."
            )
    return Surfaces(prediction=_surface(prediction), reference=_surface(reference))


def distances_between(surfaces: Surfaces, spacing: Triple = VOXELS) -> SurfaceDistances:
    """Both directed sets of distances between two surfaces; ``spacing`` as `surface_distances`."""
    prediction, reference = surfaces.prediction, surfaces.reference
    return SurfaceDistances(
        to_reference=_nearest(prediction, reference, spacing),
        to_prediction=_nearest(reference, prediction, spacing),
    )


def hd95_pooled(distances: SurfaceDistances) -> float:
    """95th percentile over both directions together: MedPy's ``hd95``, this literature's 95HD."""
    return float(np.percentile(distances.pooled, 95))


def hd95_directed_max(distances: SurfaceDistances) -> float:
    """Larger of the two directions' 95th percentiles: MONAI's Hausdorff distance at 95."""
    directions = (distances.to_reference, distances.to_prediction)
    return max(float(np.percentile(direction, 95)) for direction in directions)


def asd_prediction_to_reference(distances: SurfaceDistances) -> float:
    """Mean distance from the prediction's surface to the reference's only: MedPy's ``asd``.

    What this literature prints as ASD. It does not see what the prediction leaves out.
    """
    return float(distances.to_reference.mean())


def assd(distances: SurfaceDistances) -> float:
    """Mean over both directions pooled: MedPy's ``assd``, MONAI's symmetric surface distance."""
    return float(distances.pooled.mean())


def _surface(mask: np.ndarray) -> np.ndarray:
    """Indices ``[N, 3]`` of the voxels of a mask with a voxel outside it among 6 neighbours."""
    box = bounding_box(mask)
    padded = np.pad(mask[box], 1)
    middle, before, after = slice(1, -1), slice(None, -2), slice(2, None)
    inner = padded[middle, middle, middle].copy()
    for axis in range(3):
        for side in (before, after):
            inner &= padded[tuple(side if a == axis else middle for a in range(3))]
    flat = np.flatnonzero(mask[box] & ~inner)
    within = np.stack(np.unravel_index(flat, inner.shape), axis=1)
    return within + [side.start for side in box]


def _nearest(points: np.ndarray, targets: np.ndarray, spacing: Triple) -> np.ndarray:
    """Distance ``[N]`` of every point ``[N, 3]`` to the nearest of the targets ``[M, 3]``.

    Most surface voxels of a good prediction lie within a few voxels of the reference: those are
    found by looking at the places around them, nearest first. A k-d tree serves the rest.
    """
    offsets, lengths = _ball(spacing)
    low = np.minimum(points.min(0), targets.min(0)) - offsets.max(0)
    high = np.maximum(points.max(0), targets.max(0)) + offsets.max(0)
    shape = tuple(high - low + 1)
    occupied = np.zeros(math.prod(shape), bool)
    occupied[np.ravel_multi_index(tuple((targets - low).T), shape)] = True
    distances = np.empty(len(points))
    left, places = np.arange(len(points)), np.ravel_multi_index(tuple((points - low).T), shape)
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    for step, length in zip(offsets @ strides, lengths, strict=True):
        hit = occupied.take(places + step)
        distances[left[hit]] = length
        left, places = left[~hit], places[~hit]
    if len(left):
        # A tree cut at the middle costs half of a balanced one to build and answers as fast:
        # surface voxels are spread evenly.
        tree = KDTree(targets * spacing, balanced_tree=False)
        distances[left], _ = tree.query(points[left] * spacing)
    return distances


def _ball(spacing: Triple) -> tuple[np.ndarray, np.ndarray]:
    """Every offset ``[K, 3]`` within `REACH` of the finest voxels, nearest first; its length."""
    reach = REACH * min(spacing)
    sides = [int(reach / size) for size in spacing]
    offsets = np.array(list(np.ndindex(*(2 * side + 1 for side in sides)))) - sides
    lengths = np.linalg.norm(offsets * spacing, axis=1)
    order = np.argsort(lengths, kind="stable")[: np.count_nonzero(lengths <= reach)]
    return offsets[order], lengths[order]
