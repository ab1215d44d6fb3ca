"""What `simcvd run` would otherwise find out after hours, refused before anything is changed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from math import prod
from pathlib import Path

from simcvd.checking.facts import CaseFacts
from simcvd.types import SimcvdError

# Of a scan prepared (float16) and segmented (a byte, as formats without compression have it).
BYTES_A_VOXEL = 3


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
