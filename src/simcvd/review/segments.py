"""A DICOM segmentation read in the grid of the series it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from simcvd.types import SimcvdError, Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Voxels by which a frame may lie off the series' grid: rounding in the headers.
OFF_GRID = 0.05


def read_segments(path: Path, grid: Volume) -> np.ndarray:
    """Segment numbers ``[X, Y, Z]`` uint8 on ``grid``, the series' own; 0 where there is none.

    Frames that were left out as empty are 0. Raises SimcvdError if highdicom is not installed,
    the file is no segmentation, or its frames do not lie on the grid.
    """
    try:
        import highdicom
    except ImportError as error:
        raise SimcvdError(
            f"{path}: is a DICOM segmentation, which needs the package highdicom: "
            "`pip install simcvd[dicom]`"
        ) from error
    made = np.zeros(grid.array.shape, np.uint8)
    try:
        found: Any = highdicom.seg.segread(path)
        if not any(item.SegmentNumber for item in found.SegmentSequence):
            return made
        volume: Any = found.get_volume(combine_segments=True, allow_missing_positions=True)
    except (OSError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise SimcvdError(f"{path}: cannot be read as a DICOM segmentation ({error})") from error
    part = np.asarray(volume.array).T.astype(np.uint8)
    affine = LPS @ np.asarray(volume.affine)[:, [2, 1, 0, 3]]
    link = np.linalg.inv(grid.affine) @ affine
    turn, start = np.rint(link[:3, :3]), np.rint(link[:3, 3])
    shift = np.abs(link[:3, 3] - start).max()
    drift = (np.abs(link[:3, :3] - turn) @ np.array(part.shape)).max()
    if np.count_nonzero(turn) != 3 or max(shift, drift) > OFF_GRID:
        raise SimcvdError(f"{path}: its frames do not lie on the grid of the series it is shown on")
    return _placed(part, turn.astype(int), start.astype(int), made)


def _placed(part: np.ndarray, turn: np.ndarray, start: np.ndarray, made: np.ndarray) -> np.ndarray:
    """``part`` written into ``made``: index ``turn @ i + start`` there is index i here."""
    inside = np.argwhere(part)
    places = inside @ turn.T + start
    if ((places < 0) | (places >= made.shape)).any():
        raise SimcvdError("the segmentation reaches beyond the series it is shown on")
    made[tuple(places.T)] = part[tuple(inside.T)]
    return made
