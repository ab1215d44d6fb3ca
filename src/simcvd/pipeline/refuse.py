"""What `simcvd run` would otherwise find out after hours, refused before anything is changed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from math import prod
from pathlib import Path

from simcvd.checking.facts import CaseFacts
from simcvd.data.cache import Cache
from simcvd.layouts.records import Source
from simcvd.types import SimcvdError
from simcvd.wording import few

# Of a scan prepared (float16) and segmented (a byte, as formats without compression have it).
BYTES_A_VOXEL = 3


def refuse_other_scans(work: Path, images: Path, found: Source) -> None:
    """Refuse scans or labels that came, went or were renamed after the first training began."""
    manifest = work / "cache" / "manifest.json"
    if not manifest.exists() or not any(work.glob("*/fold_*/config.json")):
        return
    entries = Cache(manifest.parent).manifest.cases
    have = {name: entry.has_label for name, entry in entries.items()}
    names = [name for name in (*found.train, *found.test) if name in found.cases]
    now = {name: found.cases[name].label is not None for name in names}
    changed = {
        "new": now.keys() - have.keys(),
        "gone": have.keys() - now.keys(),
        "with a label unlike then": {n for n in now.keys() & have.keys() if now[n] > have[n]},
        "without a label unlike then": {n for n in now.keys() & have.keys() if now[n] < have[n]},
    }
    if told := [f"{what}: {few(sorted(cases))}" for what, cases in changed.items() if cases]:
        new = f" To segment a new scan: simcvd predict {work / 'model'} SCAN --out DIR"
        raise SimcvdError(
            f"{work} was trained on other scans than {images} holds now ({'; '.join(told)}). To "
            "train on these, give another --out; nothing was changed here."
            f"{new if changed['new'] else ''}"
        )


def refuse_full_disk(work: Path, facts: Sequence[CaseFacts]) -> None:
    """Refuse a disk that the prepared scans and the segmentations alone would fill."""
    place = next(p for p in (work, *work.absolute().parents) if p.is_dir())
    voxels = sum(prod(one.image.shape) for one in facts if one.image)
    needed, free = BYTES_A_VOXEL * voxels, shutil.disk_usage(place).free
    if needed > free:
        raise SimcvdError(
            f"{work}: to prepare and segment {voxels / 1e6:.0f} million voxels takes about "
            f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on this disk. Make room, or "
            "give an --out on another disk"
        )
