"""`simcvd check --fix`: mended copies of what can be put right without guessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simcvd.checking.findings import CheckReport
from simcvd.data.reading import same_grid
from simcvd.files import contents, replace_into
from simcvd.formats import format_of, read_voxels, stem_of, write_image, write_label
from simcvd.formats.nifti import NIFTI
from simcvd.layouts.records import Source, SourceCase
from simcvd.types import SimcvdError


def mend(report: CheckReport, found: Source, out: Path, labels: Path | None = None) -> list[Path]:
    """Write a mended copy of every file with a fixable finding below `out`; returns the copies.

    NaN becomes the channel's minimum; labels become integers, with their scan's header where
    theirs differs by rounding. Copies are NIfTI and keep their place below the source (or
    below ``labels/``). The folder is there with all of them or not at all. Raises SimcvdError if
    `out` lies within the data, or is not empty.
    """
    root = Path(report.source)
    _check_place(out, [root, *([labels] if labels else [])])
    mendable = sorted({(f.file, f.scan) for f in report.findings if f.fixable})
    places = {path: _place(Path(path), root, labels) for path, _ in mendable}
    if not places:
        return []
    with replace_into(out) as temporary:
        for path, scan in mendable:
            target = temporary / places[path]
            target.parent.mkdir(parents=True, exist_ok=True)
            _mend(found.cases[scan], Path(path), target, len(found.channel_names))
    return [out / place for place in places.values()]


def _mend(case: SourceCase, path: Path, target: Path, channels: int) -> None:
    if path == case.label:
        _mend_label(case, path, target, channels)
    else:
        _mend_image(path, target, channels if len(case.images) == 1 else 1)


def _check_place(out: Path, places: list[Path]) -> None:
    whole = out.resolve()
    for place in map(Path.resolve, places):
        if whole == place or place in whole.parents:
            raise SimcvdError(f"{out}: lies within the data ({place}). Give a folder elsewhere.")
    if out.exists() and (not out.is_dir() or contents(out)):
        raise SimcvdError(f"{out}: is not empty. Give a new folder for the corrected copies.")


def _place(path: Path, root: Path, labels: Path | None) -> Path:
    """Where the copy goes: the same place, as NIfTI."""
    beside = labels is not None and path.is_relative_to(labels) and not path.is_relative_to(root)
    base = Path("labels") / path.relative_to(labels) if beside and labels else None
    place = base or path.relative_to(root)
    return place if format_of(path) is NIFTI else place.with_name(stem_of(path) + NIFTI.ending)


def _mend_image(path: Path, target: Path, channels: int) -> None:
    volume = read_voxels(path, "image", channels=channels)
    for channel in volume.array:
        bad = np.isnan(channel)
        if bad.any():
            channel[bad] = channel[~bad].min()
    write_image(target, volume.array, volume.affine, like=path)


def _mend_label(case: SourceCase, path: Path, target: Path, channels: int) -> None:
    label = read_voxels(path, "label")
    image_path = case.images[0]
    image = read_voxels(image_path, "image", channels=channels if len(case.images) == 1 else 1)
    values = np.rint(label.array[0]).astype(np.int32)
    if same_grid(image, label):
        write_label(target, values, image.affine, like=image_path)
    else:  # the same grid along other axes, which its own header describes
        write_label(target, values, label.affine, like=path)
