"""Whether small pieces are removed follows from the held-out predictions alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.report.phantoms import scored
from tests.small import CASES

from simcvd.data.cache import Cache
from simcvd.formats import read_label, write_label
from simcvd.pipeline.known import largest_only, usual_of
from simcvd.report.results import Result

ISLAND, PART = "island", "part"


def _with_islands(result: Result, cache: Cache, kinds: list[str]) -> Result:
    """Predictions equal to the labels but for an island far off, or the core cut in two."""
    for name, kind in zip(result.cases, kinds, strict=True):
        path = result.predictions / f"{name}.nii.gz"
        volume = read_label(path)
        label = volume.array.copy()
        if kind == ISLAND:
            label[0, 0, 0] = 2
        if kind == PART:  # every second plane of the core is lost: its largest piece is one plane
            core = np.flatnonzero((label == 2).any(axis=(1, 2)))
            label[core[1::2]] = np.where(label[core[1::2]] == 2, 1, label[core[1::2]])
        write_label(path, label, volume.affine)
    return replace(result)


@pytest.mark.parametrize(
    ("kinds", "removed"),
    [
        ([ISLAND] * CASES, [2]),
        ([ISLAND, *[""] * (CASES - 1)], [2]),  # one gains and none loses
        ([""] * CASES, []),  # nothing to gain
        ([PART] * CASES, []),  # the other pieces are of the object
        ([PART, *[ISLAND] * (CASES - 1)], []),  # one loses far more than the others gain
    ],
)
def test_pieces_are_removed_where_it_helps(
    kinds: list[str], removed: list[int], small_cache: Cache, tmp_path: Path
) -> None:
    (result,) = scored(small_cache, tmp_path, small_cache.train, {"arm": 0})
    assert largest_only(small_cache, _with_islands(result, small_cache, kinds)) == removed


def test_the_usual_volumes_are_those_of_the_labels(small_cache: Cache) -> None:
    usual = usual_of(small_cache)
    label = [np.asarray(small_cache.case(name).label) for name in small_cache.train]
    core = sorted(2 * np.count_nonzero(one == 2) / 1000 for one in label)  # voxels of 2 mm3
    assert usual.scans == CASES
    assert usual.volumes[1] == pytest.approx([core[0], np.median(core), core[-1]])
    assert usual.pieces == (1, 1)
