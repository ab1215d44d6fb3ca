"""The label of a prepared scan as it stands in its file, against which scores are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from simcvd.data.cases import source_records
from simcvd.data.crop import Box, stored_like
from simcvd.data.preprocess import canonical_grid
from simcvd.data.reading import label_on_scan, read_case_label
from simcvd.layouts.records import SourceCase
from simcvd.types import IntTriple, SimcvdError, Volume


def was_resampled(info: dict[str, Any]) -> bool:
    """Whether the prepared grid is another than the scan's own, turns and crops apart.

    info: a case.json.
    """
    box = [stop - start for start, stop in info["box"]]
    shape, _ = canonical_grid((box[0], box[1], box[2]), np.array(info["source_affine"]))
    return list(shape) != list(info["shape"])


def own_grid(info: dict[str, Any]) -> tuple[IntTriple, np.ndarray, Box]:
    """Shape and affine of the scan as it stands in its file, and the box that was prepared."""
    x, y, z = info["source_shape"]
    a, b, c = (slice(start, stop) for start, stop in info["box"])
    return (x, y, z), np.array(info["source_affine"]), (a, b, c)


def label_of_file(info: dict[str, Any]) -> Volume | str:
    """The label of the scan's file on the scan's own grid, or why it cannot be had.

    Values are those of the data set.
    """
    if "label" not in info:
        return "was prepared by an older version"
    case = _case(info)
    try:
        if source_records(case, info["sources"])["label"]["sha256"] != _known(info):
            return "its label changed since it was prepared"
        shape, affine, _ = own_grid(info)
        scan = Volume(array=np.broadcast_to(np.float32(0), (1, *shape)), affine=affine)
        return stored_like(label_on_scan(case, scan, read_case_label(case)), scan)
    except OSError as error:
        return f"its label cannot be read ({error.strerror})"
    except SimcvdError as error:
        return str(error)


def _case(info: dict[str, Any]) -> SourceCase:
    label = info["label"]
    return SourceCase(
        name=info["name"],
        images=(),
        label=Path(label["path"]),
        masks=tuple((value, Path(path)) for value, path in label["masks"]),
        values=tuple((old, new) for old, new in label["values"]),
        resample_label=label["resample"],
    )


def _known(info: dict[str, Any]) -> str:
    return str(info["sources"]["label"]["sha256"])
