"""A scan as one NIfTI file that the viewer reads, in the scan's own voxels and axis order.

A NIfTI file of one channel is served as it lies on the disk. Anything else is read once and kept
below WORK/review/views as uncompressed NIfTI, a few scans at a time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from simcvd.data.io import NIFTI, suffix_of
from simcvd.data.listing import SourceCase
from simcvd.data.reading import read_channels
from simcvd.files import replace_into, write_text
from simcvd.review.round import Round, stamp_of
from simcvd.types import IntTriple, SimcvdError, Volume

KEPT_VIEWS = 4
# Types of voxels that the viewer reads; it shows a file of another type wrongly or not at all.
SHOWN = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64")


@dataclass(frozen=True, kw_only=True)
class View:
    """What the viewer gets of a scan.

    path: a NIfTI file. shape, affine: the scan's own grid, RAS+ mm. stamp: changes with the scan.
    notes: what was put right while reading.
    """

    path: Path
    shape: IntTriple
    affine: np.ndarray
    stamp: str
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
        direct = _direct(case.images[0])
        if direct is not None:
            return direct
    return _converted(round_, case, channel)


def _direct(path: Path) -> View | None:
    """A file that the viewer reads as it is, or None."""
    if suffix_of(path) not in NIFTI or not path.is_file():
        return None
    import nibabel

    try:
        image: Any = nibabel.Nifti1Image.from_filename(str(path))
        kind, affine = image.header.get_data_dtype().name, np.array(image.affine)
    except Exception:
        return None  # `read_channels` says what is wrong with it
    shown = kind in SHOWN and np.isfinite(affine).all() and _in_sform(image)
    if len(image.shape) != 3 or min(image.shape) < 2 or not shown:
        return None
    x, y, z = image.shape
    return View(path=path, shape=(x, y, z), affine=affine, stamp=stamp_of([path]))


def _in_sform(image: Any) -> bool:
    """Whether the viewer takes the geometry that simcvd takes: it prefers the higher code."""
    return int(image.header["sform_code"]) >= max(1, int(image.header["qform_code"]))


def _converted(round_: Round, case: SourceCase, channel: int) -> View:
    """The scan read once and kept, until its files change or others need the room."""
    folder = round_.work / "review" / "views"
    base = folder / f"{quote(case.name, safe='')[:150]}-{channel}"
    path, note = base.with_name(base.name + ".nii"), base.with_name(base.name + ".json")
    stamp = stamp_of(case.images)
    if path.is_file() and note.is_file():
        kept = json.loads(note.read_text(encoding="utf-8"))
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
    write_text(note, json.dumps(kept))
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
    image = nibabel.Nifti1Image(array.astype(np.int16) if whole else array, affine)
    with replace_into(path) as temporary:
        nibabel.save(image, temporary)


def _make_room(folder: Path) -> None:
    """Remove the views that were made longest ago, so that few are kept."""
    views = sorted(folder.glob("*.nii"), key=lambda p: p.stat().st_mtime)
    for path in views[: max(0, len(views) - KEPT_VIEWS + 1)]:
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink()
