"""Packed runs are read as if they lay in the study's folder."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.made_up import write_run

from simcvd.benchmark.archive import ARCHIVE, CHECKSUM, pack
from simcvd.benchmark.results import read_results
from simcvd.types import SimcvdError

DICE = [0.8, 0.7, 0.9, 0.6, 0.8, 0.7, 0.9, 0.6]


def study(root: Path) -> Path:
    """Two runs, one of them not scored."""
    write_run(root / "runs" / "a", DICE)
    write_run(root / "runs" / "b", DICE, seed=1)
    (root / "runs" / "b" / "metrics.json").unlink()
    return root


def test_packed_runs_are_read_as_before(tmp_path: Path) -> None:
    root = study(tmp_path / "x")
    before = read_results(root)
    pack(root, ["runs"])
    assert {path.name for path in root.iterdir()} == {ARCHIVE, CHECKSUM}
    after = read_results(root)
    assert len(before.missing) == 1
    assert (after.missing, after.foreign) == (before.missing, before.foreign)
    assert [r.folder for r in after.results] == [root / "runs" / "a"]
    assert after.results[0].settings == before.results[0].settings
    np.testing.assert_array_equal(after.results[0].values["dice"], before.results[0].values["dice"])


def test_the_checksum_is_what_sha256sum_reads(tmp_path: Path) -> None:
    root = study(tmp_path / "x")
    pack(root, ["runs"])
    subprocess.run(["sha256sum", "--check", CHECKSUM], cwd=root, check=True, capture_output=True)


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("x", "y"):
        archive = pack(study(tmp_path / name), ["runs"])
        digests.add(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_runs_beside_an_archive_are_read_too_and_join_it(tmp_path: Path) -> None:
    root = study(tmp_path / "x")
    pack(root, ["runs"])
    write_run(root / "runs" / "c", DICE, seed=2)
    names = [r.folder.name for r in read_results(root).results]
    assert names == ["a", "c"]
    pack(root, ["runs"])
    assert [r.folder.name for r in read_results(root).results] == names
    assert not (root / "runs").exists()


@pytest.mark.parametrize("damage", [ARCHIVE, CHECKSUM])
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: str) -> None:
    root = study(tmp_path / "x")
    pack(root, ["runs"])
    data = bytearray((root / damage).read_bytes())
    data[len(data) // 3] ^= 1
    (root / damage).write_bytes(bytes(data))
    with pytest.raises(SimcvdError, match=re.escape(f"{ARCHIVE} is not the file that {CHECKSUM}")):
        read_results(root)
