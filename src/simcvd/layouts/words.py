"""Words in the names of files and folders that say "label" or "scan"."""

from __future__ import annotations

import re

LABEL = (
    "seg|segs|segm|segmentation|segmentations|dseg|label|labels|labelmap|mask|masks|gt|"
    "ground[_ -]?truth|annotation|annotations|delineation|laendo"
)
IMAGE = "image|images|imaging|img|scan|volume|vol|ct|mr|mri"
BREAK = r"[._\- ]+"


def _ends(words: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:{words})(?:{BREAK}|(?=\d)|$)|{BREAK}(?:{words})$", re.IGNORECASE)


LABEL_ENDS, IMAGE_ENDS = _ends(LABEL), _ends(f"{IMAGE}|0000")
FOLDER = re.compile(rf"(?:{LABEL})(?:tr|ts)?", re.IGNORECASE)


def names_labels(folder: str) -> bool:
    """Whether a folder is called like one of labels: Labels, segmentations, masks, ..."""
    return FOLDER.fullmatch(folder) is not None


def without_label_words(stem: str) -> str:
    """``p1_seg``, ``label1``, ``p1.seg`` -> ``p1``, ``1``, ``p1``; "" if there is no more to it."""
    return _stripped(LABEL_ENDS, stem)


def without_scan_words(stem: str) -> str:
    """``p1_ct``, ``img1`` -> ``p1``, ``1``."""
    return _stripped(IMAGE_ENDS, stem)


def _stripped(ends: re.Pattern[str], stem: str) -> str:
    shorter = ends.sub("", stem)
    while shorter != stem:
        stem, shorter = shorter, ends.sub("", shorter)
    return stem
