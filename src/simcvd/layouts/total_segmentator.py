"""TotalSegmentator: a folder a case, ``s0000/ct.nii.gz`` and ``s0000/segmentations/<class>``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simcvd.layouts.beside import beside
from simcvd.layouts.kits import as_ct
from simcvd.layouts.records import Source


def total_segmentator(root: Path) -> Source | None:
    """The data set in `root`, or None if no folder holds a folder segmentations/.

    Every file in it is the mask of the class that it is called by.
    """
    if not any(path.is_dir() for path in root.glob("*/segmentations")):
        return None
    found = beside(root)
    if found is None:
        return None
    about = "TotalSegmentator, <case>/ct.nii.gz with <case>/segmentations/<class>.nii.gz"
    found = replace(found, kind="total-segmentator", description=about)
    ct = all(path.name.startswith("ct.") for case in found.cases.values() for path in case.images)
    return as_ct(found) if ct else found
