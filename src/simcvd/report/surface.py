"""Two surfaces in one picture: depth maps of smoothed masks, lit from above; no mesh is made."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from simcvd.types import Triple

LIGHT = np.array([-0.4, 0.6, 0.7])  # where it comes from: the left, above, the viewer
AMBIENT = 0.35
PIXELS = 160  # of the longest side, at least
SMOOTH = 0.7  # voxels, so that steps between them do not show
CLOSE = 0.5  # mm between two surfaces that are seen as one
ROOM = 3  # pixels around

Colour = tuple[float, float, float]


def render(
    masks: tuple[np.ndarray, np.ndarray], colours: tuple[Colour, Colour], spacing: Triple
) -> np.ndarray:
    """The surfaces of two masks as seen from the patient's back, ``[rows, columns, 3]`` in 0 to 1.

    masks: ``[X, Y, Z]`` booleans with RAS+ axes; one or both may be empty. Rows run downwards,
    columns to the patient's right, as in the axial slices of this package; pixels are squares. Each
    has the colour of the surface that is nearer to the viewer, of both within `CLOSE` mm their
    mean, and is white where there is none.
    """
    size = np.multiply(masks[0].shape, spacing)
    step = min(min(spacing), size.max() / PIXELS)
    depths = np.stack([step * _depth(_cube(mask, size, step)) for mask in masks])
    nearest = depths.min(0)
    hit = np.isfinite(nearest)
    seen = depths <= nearest + CLOSE
    colour = np.einsum("ixz,ic->xzc", seen / seen.sum(0), np.array(colours))
    picture = np.ones_like(colour)
    picture[hit] = (colour * _shade(nearest, step)[..., None])[hit]
    return picture[:, ::-1].transpose(1, 0, 2)


def _cube(mask: np.ndarray, size: np.ndarray, step: float) -> np.ndarray:
    """The mask, smoothed, on voxels of ``step`` mm, with room for its surface around it."""
    soft = gaussian_filter(np.pad(mask, 1).astype(np.float32), SMOOTH)[1:-1, 1:-1, 1:-1]
    factors = np.maximum(np.rint(size / step), 1) / mask.shape
    fine = zoom(soft, factors, order=1, grid_mode=True, mode="nearest")
    return np.pad(fine, ROOM)


def _depth(field: np.ndarray) -> np.ndarray:
    """Voxels along Y to where a ray first rises above a half, ``[X, Z]``; inf where none does."""
    inside = field > 0.5
    first = inside.argmax(1)[:, None]
    after = np.take_along_axis(field, first, 1)
    before = np.take_along_axis(field, np.maximum(first - 1, 0), 1)
    # Linear between the two voxels; a ray without a hit has the same one twice.
    exact = first - (after - 0.5) / np.where(after > before, after - before, 1)
    return np.where(inside.any(1), exact[:, 0], np.inf)


def _shade(depth: np.ndarray, step: float) -> np.ndarray:
    """Brightness 0 to 1 of a surface by its slope; the background is taken to lie far behind."""
    hit = np.isfinite(depth)
    far = depth[hit].max(initial=0) + 5 * step
    across, up = np.gradient(np.where(hit, depth, far), step)
    normal = np.stack([across, up, np.ones_like(depth)])  # depth grows away from the viewer
    cosine = np.einsum("c,cxz->xz", LIGHT, normal) / np.linalg.norm(normal, axis=0)
    return np.asarray(AMBIENT + (1 - AMBIENT) * cosine.clip(0) / np.linalg.norm(LIGHT))
