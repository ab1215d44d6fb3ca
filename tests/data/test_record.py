"""What the files of a cache hold: hashes that stay, and records of earlier versions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from simcvd.data.record import CASE, MANIFEST, CaseEntry, Manifest
from simcvd.preprocessing import Preprocessing
from simcvd.scoring.reference import label_of_file, own_grid, was_resampled
from simcvd.types import SimcvdError

CT = Preprocessing(spacing=(1, 1, 2.5), normalization="ct", window=(-160, 240))
CLASSES = 12  # more than ten: as numbers they have another order than as texts
ENTRY = CaseEntry(hash="0", shape=(4, 5, 6), spacing=(1.0, 1.0, 2.5), has_label=True)


def manifest(done: Preprocessing) -> Manifest:
    return Manifest(
        source_kind="pairs",
        source="/x",
        channel_names=("MRI",),
        class_names={k: f"class {k}" for k in range(CLASSES)},
        label_values={k: k for k in range(CLASSES)},
        preprocessing=done,
        spacing=(1, 1, 2.5),
        train=("a",),
        test=("b",),
        cases=dict.fromkeys("ab", ENTRY),
        data_hash="",
    )


@pytest.mark.parametrize(
    ("done", "wanted"),
    [
        (CT, "8b738d8341c3010b9f6a96c13a65af5dbfb263c44d70bd74773a9b780215e4cf"),
        (
            Preprocessing(crop="nonzero"),
            "e21e681374d787ffb28e2eadbb802a8a59c6b857697b1f4c8bcd8893ba868dcb",
        ),
    ],
)
def test_the_hash_of_data_is_what_it_was_before_files_had_migrations(
    done: Preprocessing, wanted: str
) -> None:
    """Made by commit a43182c."""
    made = manifest(done)
    assert made.content_hash() == wanted
    read = MANIFEST.read(MANIFEST.content(made), "manifest.json")
    assert (read, read.content_hash()) == (made, wanted)


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0])
def test_a_manifest_s_spacing_is_a_length(number: float) -> None:
    content = {**MANIFEST.content(manifest(CT)), "spacing": [1, 1, number]}
    with pytest.raises(SimcvdError, match=r"manifest\.json: .*spacing is .*above 0"):
        MANIFEST.read(content, "manifest.json")


@pytest.mark.parametrize("name", ["affine", "source_affine"])
def test_a_scan_s_affine_is_finite(name: str) -> None:
    wrong = [[1.0, 0.0, 0.0, math.nan], *OLDEST[name][1:]]
    with pytest.raises(SimcvdError, match=rf"case\.{name} is .*; it must be finite\)"):
        CASE.read({**OLDEST, name: wrong}, "case.json")


OLDEST: dict[str, Any] = {  # as commit 84000a1 wrote it
    "format": 1,
    "name": "a",
    "hash": "0",
    "recipe": {"format": 1, "preprocessing": {"spacing": None}},
    "sources": {
        "images": [{"path": "/a.nii", "size": 9, "mtime_ns": 1, "sha256": "1"}],
        "label": {"path": "/b.nii", "size": 9, "mtime_ns": 1, "sha256": "2"},
    },
    "source_shape": [4, 5, 6],
    "source_affine": np.diag([1, 1, 2, 1]).tolist(),
    "shape": [4, 5, 12],
    "affine": np.eye(4).tolist(),
    "spacing": [1, 1, 1],
    "label_found": [0, 1],
    "files": {"image.npy": 608},
}


def test_a_case_of_the_first_version_was_prepared_whole() -> None:
    record = CASE.read(OLDEST, "case.json")
    assert CASE.content(record) == OLDEST  # and gets nothing that it did not say
    shape, affine, box = own_grid(record)
    assert (shape, box) == ((4, 5, 6), (slice(0, 4), slice(0, 5), slice(0, 6)))
    assert affine[2, 2] == 2
    assert was_resampled(record)
    assert label_of_file(record) == "was prepared by an older version"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [4, 0, 6]}, r"case\.shape is \(4, 0, 6\); it must be at least 1"),
        ({"affine": [[1, 0, 0, 0]] * 3}, "affine is .*expected array of length 4, got 3"),
        ({"spacing": [1, float("nan"), 1]}, r"case\.spacing is .*finite and above 0"),
        ({"files": {"image.npy": "big"}}, r"files\[\.\.\.\]: expected int, got str"),
        ({"sources": {"images": []}}, "label missing in sources"),
        ({"colour": 1}, "there is no 'colour'; did you mean"),
    ],
)
def test_a_case_of_a_stranger_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SimcvdError, match=rf"case\.json: is not a prepared scan \({message}"):
        CASE.read({**OLDEST, **change}, "case.json")
