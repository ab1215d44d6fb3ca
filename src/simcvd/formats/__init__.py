"""Reading and writing scans and label maps in the formats users have, one file a format.

`simcvd.formats.table` lists them, `simcvd.formats.guard` stands before them all.
"""

from simcvd.formats.geometry import describe_affine, spacing_of
from simcvd.formats.read import (
    read_header,
    read_image,
    read_label,
    read_voxels,
    segments_of,
    write_image,
    write_label,
)
from simcvd.formats.segments import by_name, revalued
from simcvd.formats.table import (
    FORMATS,
    answer_for,
    answers,
    files_of,
    find_format,
    format_of,
    stem_of,
    suffix_of,
)

__all__ = [
    "FORMATS",
    "answer_for",
    "answers",
    "by_name",
    "describe_affine",
    "files_of",
    "find_format",
    "format_of",
    "read_header",
    "read_image",
    "read_label",
    "read_voxels",
    "revalued",
    "segments_of",
    "spacing_of",
    "stem_of",
    "suffix_of",
    "write_image",
    "write_label",
]
