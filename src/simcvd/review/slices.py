"""One slice of a scan as a PNG, for browsers without WebGL2: they show, and do not draw."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
from PIL import Image

from simcvd.data.preprocess import canonical
from simcvd.report.sprites import PLANES, cuts
from simcvd.review.labels import ONE_AT_A_TIME, classes_of, values_of
from simcvd.review.round import Round
from simcvd.review.scans import View
from simcvd.types import SimcvdError, Volume

OPACITY = 0.45


class Slices:
    """Keeps the voxels of the last scan and layer asked for, so that scrolling reads no file."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        self._lock = threading.Lock()

    def png(
        self, round_: Round, view: View, name: str, plane: str, at: float, layer: str | None
    ) -> bytes:
        """A slice at the share ``at`` of the way through the scan, in radiological convention.

        Grey values run from the 1st to the 99th percentile of the scan. layer: a map of classes
        to lay over it, or None. Raises SimcvdError for an unknown plane or layer.
        """
        if plane not in PLANES:
            raise SimcvdError(f"there is no plane '{plane}'; ask for {', '.join(PLANES)}")
        axis = PLANES.index(plane)
        with self._lock:
            image = self._of("scan", (name, view.stamp), lambda: _grey(view))
            picture = _cut(image, axis, at)
            rgb = np.repeat(picture[..., None], 3, axis=2).astype(np.float32)
            if layer:
                key = (name, view.stamp, layer)
                classes = self._of("layer", key, lambda: _classes(round_, view, name, layer))
                _paint(rgb, _cut(classes, axis, at), [c.colour for c in round_.classes])
        buffer = io.BytesIO()
        Image.fromarray(rgb.astype(np.uint8)).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def _of(self, what: str, key: tuple[str, ...], read: Any) -> np.ndarray:
        if what not in self._kept or self._kept[what][0] != key:
            self._kept.pop(what, None)
            with ONE_AT_A_TIME:
                self._kept[what] = key, read()
        return self._kept[what][1]


def _grey(view: View) -> np.ndarray:
    """``[X, Y, Z]`` uint8 along RAS+ axes."""
    import nibabel

    image: Any = nibabel.Nifti1Image.from_filename(str(view.path))
    array = np.asanyarray(image.dataobj, dtype=np.float32)
    few = array[tuple(slice(None, None, max(1, n // 64)) for n in array.shape)]
    low, high = np.nanpercentile(few, (1, 99))
    scaled = np.nan_to_num((array - low) * (255 / max(high - low, 1e-6)))
    return canonical(Volume(array=scaled.clip(0, 255).astype(np.uint8), affine=view.affine)).array


def _classes(round_: Round, view: View, name: str, layer: str) -> np.ndarray:
    classes = classes_of(round_, values_of(round_, view, name, layer))
    return canonical(Volume(array=classes, affine=view.affine)).array


def _cut(array: np.ndarray, axis: int, at: float) -> np.ndarray:
    """The slice at the share ``at`` of the way through."""
    size = array.shape[axis]
    (cut,) = cuts(array, axis, [min(size - 1, max(0, int(at * size)))])
    return cut


def _paint(rgb: np.ndarray, classes: np.ndarray, colours: list[str]) -> None:
    for index, colour in enumerate(colours):
        if index:
            tint = np.array([*bytes.fromhex(colour[1:])], np.float32)
            inside = classes == index
            rgb[inside] = (1 - OPACITY) * rgb[inside] + OPACITY * tint
