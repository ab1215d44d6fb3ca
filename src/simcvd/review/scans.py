"""A scan as one NIfTI file that the viewer reads, in the scan's own voxels and axis order.

A NIfTI file of one channel is served as it lies on the disk. Anything else is read once and kept
below WORK/review/views as uncompressed NIfTI, a few scans at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.data.reading import read_channels
from simcvd.files import read_object, write_json
from simcvd.formats import format_of, read_header
from simcvd.formats.nifti import NIFTI, save
from simcvd.layouts.records import SourceCase
from simcvd.review.round import Round, scan_stamp
from simcvd.types import IntTriple, SimcvdError, Volume

KEPT_VIEWS = 4
# Types of voxels that the viewer reads; it shows a file of another type wrongly or not at all.
SHOWN = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64")


@dataclass(frozen=True, kw_only=True)
class View:
    """What the viewer gets of a scan.

    path: a NIfTI file, gzipped where packed. shape, affine: the scan's own grid, RAS+ mm.
    stamp: changes with the scan. notes: what was put right while reading.
    """

    path: Path
    shape: IntTriple
    affine: np.ndarray
    stamp: str
    packed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Volume:
        """The grid as a volume without voxels of its own."""
        return Volume(array=np.broadcast_to(np.uint8(0), self.shape), affine=self.affine)


def view_of(round_: Round, name: str, channel: int = 0) -> View:
    """The scan made ready for the viewer. Raises SimcvdError, saying why, if it cannot be shown."""
    case, channels = round_.case(name), len(round_.source.channel_names)
    if not 0 <= channel < channels:
        raise SimcvdError(f"the scans of this round have {channels} channels, none of that number")
    if channels == 1 and len(case.images) == 1:
        direct = _direct(case)
        if direct is not None:
            return direct
    return _converted(round_, case, channel)


def _direct(case: SourceCase) -> View | None:
    """A file that the viewer reads as it is, or None: NIfTI-1 in one file, plain or gzipped."""
    import nibabel

    (path,) = case.images
    try:
        if format_of(path) is not NIFTI:
            return None
        header, image = read_header(path), nibabel.Nifti1Image.from_filename(str(path))
    except Exception:
        return None  # `read_channels` says what is wrong with it
    block = header.block
    if block is None or block.files != (path,) or block.coding not in ("raw", "gzip"):
        return None
    shown = header.dtype.name in SHOWN and np.isfinite(header.affine).all() and _in_sform(image)
    if len(header.shape) != 3 or min(header.shape) < 2 or header.notes or not shown:
        return None
    x, y, z = header.shape
    packed, stamp = block.coding == "gzip", scan_stamp(case)
    return View(path=path, shape=(x, y, z), affine=header.affine, stamp=stamp, packed=packed)


def _in_sform(image: Any) -> bool:
    """Whether the viewer takes the geometry that simcvd takes: it prefers the higher code."""
    return int(image.header["sform_code"]) >= max(1, int(image.header["qform_code"]))


def _converted(round_: Round, case: SourceCase, channel: int) -> View:
    """The scan read once and kept, until its files change or others need the room."""
    folder = round_.work / "review" / "views"
    path, note = (folder / f"{case.name}-{channel}.{kind}" for kind in ("nii", "json"))
    stamp = scan_stamp(case)
    if path.is_file() and note.is_file():
        kept = read_object(note, f"Remove the folder {folder}.")
        if kept["stamp"] == stamp:
            return _kept_view(path, kept)
    volume = read_channels(case.images, len(round_.source.channel_names))
    if not 0 <= channel < len(volume.array):
        raise SimcvdError(
            f"'{case.name}' has {len(volume.array)} channels, none numbered {channel}"
        )
    array = volume.array[channel]
    kept = {
        "stamp": stamp,
        "shape": array.shape,
        "affine": volume.affine.tolist(),
        "notes": volume.notes,
    }
    _make_room(folder)
    _write(path, array, volume.affine)
    write_json(note, kept)
    return _kept_view(path, kept)


def _kept_view(path: Path, kept: dict[str, Any]) -> View:
    x, y, z = kept["shape"]
    return View(
        path=path,
        shape=(x, y, z),
        affine=np.array(kept["affine"]),
        stamp=kept["stamp"],
        notes=tuple(kept["notes"]),
    )


def _write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """As int16 where that holds every value, in half the room; else as float32."""
    import nibabel

    low, high = array.min(), array.max()
    whole = low >= -(2**15) and high < 2**15 and all(np.array_equal(p, np.rint(p)) for p in array)
    save(path, nibabel.Nifti1Image(array.astype(np.int16) if whole else array, affine))


def _make_room(folder: Path) -> None:
    """Remove the views that were made longest ago, so that few are kept."""
    views = sorted(folder.glob("*.nii"), key=lambda p: p.stat().st_mtime)
    for path in views[: max(0, len(views) - KEPT_VIEWS + 1)]:
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink()
