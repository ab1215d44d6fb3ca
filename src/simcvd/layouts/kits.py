"""KiTS: a folder a case, ``case_00000/imaging.nii.gz`` and ``segmentation.nii.gz``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simcvd.layouts.beside import beside
from simcvd.layouts.decathlon import preprocessing_of
from simcvd.layouts.records import Source


def kits(root: Path) -> Source | None:
    """The data set in `root`, or None if no folder holds a file imaging.nii.gz.

    Its scans are CT. A case without a segmentation is unlabelled.
    """
    if not any(root.glob("*/imaging.nii*")):
        return None
    found = beside(root)
    if found is None:
        return None
    about = "KiTS, <case>/imaging.nii.gz with segmentation.nii.gz"
    return as_ct(replace(found, kind="kits", description=about))


def as_ct(source: Source) -> Source:
    """The source of one channel as CT, if nothing else is declared."""
    if source.channel_names != ("image",):
        return source
    return replace(source, channel_names=("CT",), preprocessing=preprocessing_of(("CT",)))
