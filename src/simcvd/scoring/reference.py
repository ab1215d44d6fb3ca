"""The label of a prepared scan as it stands in its file, against which scores are measured."""

from __future__ import annotations

import numpy as np

from simcvd.data.cases import source_records
from simcvd.data.crop import Box, stored_like
from simcvd.data.preprocess import canonical_grid
from simcvd.data.reading import label_on_scan, read_case_label
from simcvd.data.record import CaseRecord
from simcvd.types import IntTriple, SimcvdError, Volume


def was_resampled(info: CaseRecord) -> bool:
    """Whether the prepared grid is another than the scan's own, turns and crops apart."""
    x, y, z = (side.stop - side.start for side in info.part)
    shape, _ = canonical_grid((x, y, z), np.array(info.source_affine))
    return tuple(shape) != info.shape


def own_grid(info: CaseRecord) -> tuple[IntTriple, np.ndarray, Box]:
    """Shape and affine of the scan as it stands in its file, and the box that was prepared."""
    return info.source_shape, np.array(info.source_affine), info.part


def label_of_file(info: CaseRecord) -> Volume | str:
    """The label of the scan's file on the scan's own grid, or why it cannot be had.

    Values are those of the data set.
    """
    if info.label is None:
        return "was prepared by an older version"
    case = info.label.case(info.name)
    try:
        known, now = info.sources.label, source_records(case, info.sources).label
        if known is None or now is None or now.sha256 != known.sha256:
            return "its label changed since it was prepared"
        shape, affine, _ = own_grid(info)
        scan = Volume(array=np.broadcast_to(np.float32(0), (1, *shape)), affine=affine)
        return stored_like(label_on_scan(case, scan, read_case_label(case)), scan)
    except OSError as error:
        return f"its label cannot be read ({error.strerror})"
    except SimcvdError as error:
        return str(error)
