"""One slice of a scan as a PNG, for browsers without WebGL2: they show, and do not draw."""

from __future__ import annotations

import struct
import threading
import zlib
from typing import Any, Literal, get_args

import numpy as np

from simcvd.data.preprocess import canonical
from simcvd.review.labels import ONE_AT_A_TIME, classes_of, values_of
from simcvd.review.round import Round
from simcvd.review.scans import View
from simcvd.types import SimcvdError, Volume

Plane = Literal["axial", "coronal", "sagittal"]
# The axis of RAS+ voxels that a plane lies across.
ACROSS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
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
        if plane not in get_args(Plane):
            raise SimcvdError(f"there is no plane '{plane}'; ask for {', '.join(ACROSS)}")
        axis = next(ACROSS[p] for p in ACROSS if p == plane)
        with self._lock:
            image = self._of("scan", (name, view.stamp), lambda: _grey(view))
            picture = _cut(image, axis, at)
            rgb = np.repeat(picture[..., None], 3, axis=2).astype(np.float32)
            if layer:
                key = (name, view.stamp, layer)
                classes = self._of("layer", key, lambda: _classes(round_, view, name, layer))
                _paint(rgb, _cut(classes, axis, at), [c.colour for c in round_.classes])
        return png_of(rgb.astype(np.uint8))

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
    """Rows downwards, columns to the right: superior or anterior up, the patient's right left."""
    size = array.shape[axis]
    plane = np.take(array, min(size - 1, max(0, int(at * size))), axis)
    turned = plane.T[::-1]
    return turned if axis == 0 else turned[:, ::-1]


def _paint(rgb: np.ndarray, classes: np.ndarray, colours: list[str]) -> None:
    for index, colour in enumerate(colours):
        if index:
            tint = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
            inside = classes == index
            rgb[inside] = (1 - OPACITY) * rgb[inside] + OPACITY * tint


def png_of(rgb: np.ndarray) -> bytes:
    """``[H, W, 3]`` uint8 as a PNG file (ISO/IEC 15948): header, one block of rows, end."""
    height, width, _ = rgb.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), rgb.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
