"""Labels as classes in the scan's own voxels, for the page, and written back.

What the page sends is compared with the map its drawing began from: only voxels whose class was
changed get another value, so a value that no class stands for stays where nothing was drawn.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.data.crop import stored_like
from simcvd.data.reading import label_on_scan, read_case_label
from simcvd.files import copy, remove
from simcvd.formats import files_of, read_label, read_voxels
from simcvd.formats.read import small
from simcvd.formats.table import best_writer
from simcvd.review.round import Layer, Round, States, stamp_of
from simcvd.review.scans import View, view_of
from simcvd.types import SimcvdError, Volume

EMPTY = "empty"
# Reading and writing maps takes a scan's size in memory: one at a time.
ONE_AT_A_TIME = threading.RLock()


class Conflict(SimcvdError):
    """The scan or the map was changed after the page had loaded it."""


def values_of(round_: Round, view: View, name: str, layer_id: str) -> np.ndarray:
    """Values ``[X, Y, Z]`` of a layer in the scan's grid and axis order; 0 for the empty one.

    Raises SimcvdError where the layer cannot be read, or has another grid.
    """
    if layer_id == EMPTY:
        return np.zeros(view.shape, np.uint8)
    layer, case = round_.layer(name, layer_id), round_.case(name)
    label = read_case_label(case) if layer.id == "given" else integers(layer.path)
    on_scan = label_on_scan(replace(case, label=layer.path), view.grid, label)
    return stored_like(on_scan, view.grid).array


def integers(path: Path) -> Volume:
    """A label map in the type it is stored in, where that is one of integers: less memory."""
    volume = read_voxels(path, "label")
    if volume.array.dtype.kind in "iu":
        return replace(volume, array=volume.array[0])
    return read_label(path)


def classes_of(round_: Round, values: np.ndarray) -> np.ndarray:
    """Class of every voxel, uint8; 0 for a value that no class stands for."""
    classes = np.zeros(values.shape, np.uint8, order="F")
    for z in range(values.shape[2]):  # a plane stays in the processor's cache
        for index, one in enumerate(round_.classes):
            if index:
                classes[..., z][values[..., z] == one.value] = index
    return classes


def packed(round_: Round, view: View, name: str, layer_id: str) -> bytes:
    """The classes of a layer, gzipped, the first axis running fastest."""
    with ONE_AT_A_TIME:
        classes = classes_of(round_, values_of(round_, view, name, layer_id))
        return gzipped(classes.ravel(order="F").data)


def gzipped(*parts: bytes | memoryview) -> bytes:
    """gzip of all parts at its fastest: what is sent is mostly runs of zeros."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([*(packer.compress(part) for part in parts), packer.flush()])


class Unpacker:
    """Takes a gzipped body chunk by chunk and never holds more than the voxels that are due."""

    def __init__(self, voxels: int) -> None:
        self.classes = np.empty(voxels, np.uint8)
        self.filled = 0
        self._inflate = zlib.decompressobj(wbits=31)

    def take(self, chunk: bytes) -> None:
        """Raises SimcvdError for more voxels than the scan has, or if it is no gzip."""
        try:
            while True:
                part = self._inflate.decompress(chunk, 1 << 20)
                chunk = self._inflate.unconsumed_tail
                end = self.filled + len(part)
                if end > len(self.classes):
                    raise SimcvdError("the drawing has more voxels than the scan; reload the page")
                self.classes[self.filled : end] = np.frombuffer(part, np.uint8)
                self.filled = end
                if not part and not chunk:
                    return
        except zlib.error as error:
            raise SimcvdError(f"the drawing arrived damaged ({error}); save again") from error

    def whole(self) -> np.ndarray:
        """All classes. Raises SimcvdError if some did not arrive."""
        if self.filled != len(self.classes) or not self._inflate.eof:
            raise SimcvdError(f"{self.filled} of {len(self.classes)} voxels arrived; save again")
        return self.classes


def base_stamp(round_: Round, name: str, layer_id: str) -> str:
    """Changes with the file a drawing begins from."""
    if layer_id == EMPTY:
        return EMPTY
    masks = [path for _, path in round_.case(name).masks] if layer_id == "given" else []
    return stamp_of(masks or [round_.layer(name, layer_id).path])


def save(
    round_: Round,
    name: str,
    *,
    base: str,
    scan_stamp: str,
    map_stamp: str,
    drawn: np.ndarray | None,
) -> None:
    """Write WORK/labels/<name>: the map ``base`` with the voxels changed that ``drawn`` changes.

    drawn: classes of all voxels, the first axis running fastest; None accepts the map as it is.
    scan_stamp, map_stamp: what the page was given with the scan and with the map. Raises Conflict
    if either has changed since, CannotWrite if the disk is full.
    """
    with ONE_AT_A_TIME:
        view = view_of(round_, name)
        if view.stamp != scan_stamp:
            raise Conflict(
                f"the scan '{name}' has changed since this page loaded it, so what was drawn may "
                "not lie where it should. Nothing was saved; open the scan again"
            )
        if base_stamp(round_, name, base) != map_stamp:
            raise Conflict(
                f"the map that the drawing of '{name}' began from has changed since. Nothing was "
                "saved; open the scan again"
            )
        values = values_of(round_, view, name, base)
        if drawn is not None:
            values = _changed(round_, values, drawn)
        label = _written(round_, name, view, values)
        state = "accepted" if drawn is None else "corrected"
        States(round_.work).set(name, state, label, view.stamp)


def _written(round_: Round, name: str, view: View, values: np.ndarray) -> Path:
    """The label's file, in the scan's answer format; one in another format makes way."""
    kind, write, _ = best_writer(round_.case(name).images[0])
    path, former = round_.label_in(kind, name), round_.own_label(name)
    if former:
        _keep_former(round_, former)
    names = _names(round_, values) if kind.names_classes else {}
    write(path, small(values), view.affine, names)
    if former and former != path:
        remove(former)
    return path


def _names(round_: Round, values: np.ndarray) -> dict[int, str]:
    """{value: name}, background first; values of no class, too, so that the file keeps them."""
    names = {c.value: c.name for c in round_.classes}
    known, strays = [0, *names], set()
    for plane in np.moveaxis(values, 2, 0):
        strays |= {*np.unique(plane[~np.isin(plane, known)]).tolist()}
    return names | {value: f"value {value}" for value in sorted(strays)}


def _changed(round_: Round, values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The values with those of other classes than before where ``drawn`` says so."""
    if drawn.size and int(drawn.max()) >= len(round_.classes):
        raise SimcvdError(
            f"the drawing has a class {int(drawn.max())} that this round does not have"
        )
    drawn = drawn.reshape(values.shape, order="F")
    touched = drawn != classes_of(round_, values)
    table = np.array([c.value for c in round_.classes])
    made = values.astype(np.promote_types(values.dtype, np.min_scalar_type(int(table.max()))))
    made[touched] = table[drawn[touched]]
    return made


def _keep_former(round_: Round, label: Path) -> None:
    """A label that is replaced stays below WORK/review/former, in a folder of its time."""
    when = time.strftime("%Y%m%d-%H%M%S", time.gmtime(label.stat().st_mtime))
    for file in files_of(label):
        copy(file, round_.work / "review" / "former" / when / file.name)


def overlays(round_: Round, view: View, name: str, layers: Iterable[Layer]) -> list[dict[str, Any]]:
    """What the page needs to know of each layer, with the stamp a drawing on it must name."""
    return [
        {
            "id": layer.id,
            "title": layer.title,
            "kind": layer.kind,
            "stamp": base_stamp(round_, name, layer.id),
            "base": layer.kind == "classes" and not layer.id.startswith("heldout-"),
        }
        for layer in layers
    ]
