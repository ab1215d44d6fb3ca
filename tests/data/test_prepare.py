"""Preparing again, being killed, running out of disk: the cache is always whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.types import SimcvdError

from .conftest import ball, noise, save

CHILD = """
import resource, sys
from simcvd.data.prepare import prepare
limit = int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    prepare(sys.argv[1], sys.argv[2], jobs=1, quiet=True)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def child(source: Path, out: Path, limit: int = 0) -> subprocess.Popen[str]:
    """`prepare` in a process of its own; limit: bytes a file may have, 0 for any."""
    command = [sys.executable, "-c", CHILD, str(source), str(out), str(limit)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")


def again(source: Path, out: Path, **settings: object) -> Cache:
    return prepare(source, out, jobs=1, quiet=True, **settings)  # type: ignore[arg-type]


def stamps(cache: Cache) -> dict[str, int]:
    return {n: (cache.root / "cases" / n).stat().st_ino for n in cache.manifest.cases}


def contents(cache: Cache) -> dict[str, bytes]:
    files = sorted((cache.root / "cases").glob("*/*.npy"))
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in files}


def test_preparing_again_does_only_what_changed(folders: Path, tmp_path: Path) -> None:
    first = again(folders, tmp_path / "cache")
    before = stamps(first)
    same = again(folders, tmp_path / "cache")
    assert stamps(same) == before
    assert same.manifest == first.manifest
    os.utime(folders / "images" / "a.nii.gz")  # touched, not changed: hashed, and taken as it is
    assert stamps(again(folders, tmp_path / "cache")) == before
    save(folders / "images" / "b.nii.gz", noise(77))
    changed = again(folders, tmp_path / "cache")
    assert [n for n, inode in stamps(changed).items() if inode != before[n]] == ["b"]
    assert changed.manifest.data_hash != first.manifest.data_hash
    assert contents(changed) == contents(again(folders, tmp_path / "fresh"))


def test_the_data_hash_follows_contents_not_places(folders: Path, tmp_path: Path) -> None:
    def data_hash(out: str, **settings: object) -> str:
        return again(folders, tmp_path / out, **settings).manifest.data_hash

    first = data_hash("one")
    assert data_hash("two") == first
    assert data_hash("two", spacing=(2.0,)) != first
    label = folders / "labels" / "c.nii.gz"
    kept = label.read_bytes()
    save(label, ball(radius=2.5))
    assert data_hash("one") != first
    label.write_bytes(kept)
    assert data_hash("one") == first
    (folders / "train.list").write_text("b\na\nc\nd\n")
    assert data_hash("one") != first


def test_a_scan_that_left_the_source_leaves_the_cache(folders: Path, tmp_path: Path) -> None:
    again(folders, tmp_path / "cache")
    (folders / "images" / "d.nii.gz").unlink()
    cache = again(folders, tmp_path / "cache")
    assert cache.train == ("a", "b", "c")
    assert sorted(p.name for p in (cache.root / "cases").iterdir()) == ["a", "b", "c"]


def test_a_damaged_case_is_made_again(folders: Path, tmp_path: Path) -> None:
    whole = contents(again(folders, tmp_path / "cache"))
    os.truncate(tmp_path / "cache" / "cases" / "a" / "image.npy", 1000)
    (tmp_path / "cache" / "cases" / "c" / "case.json").write_text('{"format": 1, ')
    with pytest.raises(SimcvdError, match=r"case\.json is broken"):
        Cache(tmp_path / "cache").case("c")
    assert contents(again(folders, tmp_path / "cache")) == whole


def test_images_do_not_depend_on_labels(la_folder: Callable[[int], Path], tmp_path: Path) -> None:
    root = la_folder(5)
    full = again(root, tmp_path / "full")
    for name in full.train[2:]:
        (root / "labels" / f"{name}.nii.gz").unlink()
    few = again(root, tmp_path / "few")
    assert few.train == full.train
    assert few.labeled(2) == full.labeled(2)
    assert few.task_info == full.task_info
    assert few.manifest.preprocessing == full.manifest.preprocessing
    here, there = contents(few), contents(full)
    assert len([n for n in here if n.endswith("image.npy")]) == 6
    assert all(there[name] == content for name, content in here.items())
    labeled = {*full.train[:2], *full.test}
    assert {n for n in there if not n.endswith("image.npy")} - set(here) == {
        f"{name}/{kind}.npy" for name in set(full.train) - labeled for kind in ("label", "distance")
    }


def test_processes_change_nothing(folders: Path, tmp_path: Path) -> None:
    one = again(folders, tmp_path / "one")
    two = prepare(folders, tmp_path / "two", jobs=2, quiet=True)
    assert contents(one) == contents(two)
    assert one.manifest == two.manifest


def test_killed_in_the_middle_it_goes_on_from_whole_cases(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for seed in range(8):
        save(root / "images" / f"{seed:02}.nii.gz", noise(seed, (48, 48, 40)))
        save(root / "labels" / f"{seed:02}.nii.gz", ball((48, 48, 40), 15))
    process = child(root, tmp_path / "cache")
    cases = tmp_path / "cache" / "cases"
    while process.poll() is None and len(list(cases.glob("[0-9]*"))) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {p.name: p.stat().st_ino for p in cases.glob("[0-9]*")}
    assert 2 <= len(done) < 8
    with pytest.raises(SimcvdError, match="not a prepared data set"):
        Cache(tmp_path / "cache")
    (cases / ".tmp-07").mkdir(exist_ok=True)
    (cases / ".tmp-07" / "image.npy").write_bytes(b"half")
    cache = again(root, tmp_path / "cache")
    assert {n: (cases / n).stat().st_ino for n in done} == done
    assert not list(cases.glob(".*"))
    assert contents(cache) == contents(again(root, tmp_path / "fresh"))


def test_a_full_disk_leaves_the_cache_usable(folders: Path, tmp_path: Path) -> None:
    cache = again(folders, tmp_path / "cache")
    before = contents(cache)
    save(folders / "images" / "a.nii.gz", noise(50))
    save(folders / "images" / "b.nii.gz", noise(51, (40, 40, 40)))
    process = child(folders, tmp_path / "cache", limit=20_000)  # a fits, b does not
    _, message = process.communicate()
    assert process.returncode == 1
    assert "the disk is full" in message
    assert "re-run the same command" in message
    cases = tmp_path / "cache" / "cases"
    assert sorted(p.name for p in cases.iterdir()) == [".new-a", "a", "b", "c", "d"]
    kept = Cache(tmp_path / "cache")
    assert kept.manifest == cache.manifest
    shown = {n: c for n, c in contents(kept).items() if not n.startswith(".")}
    assert shown == before
    assert kept.case("a").image.shape == (1, 12, 10, 8)
    waiting = (cases / ".new-a").stat().st_ino
    renewed = again(folders, tmp_path / "cache")
    assert renewed.case("b").image.shape == (1, 40, 40, 40)
    assert (cases / "a").stat().st_ino == waiting  # what was made before the disk filled is used
    assert not list(cases.glob(".*"))


def test_other_settings_replace_all_or_nothing(folders: Path, tmp_path: Path) -> None:
    cache = again(folders, tmp_path / "cache")
    before = contents(cache)
    bad = folders / "images" / "d.nii.gz"
    kept = bad.read_bytes()
    bad.write_bytes(kept[:100])
    for spacing in (3.0, 2.0):
        with pytest.raises(SimcvdError, match=r"d\.nii\.gz"):
            again(folders, tmp_path / "cache", spacing=(spacing,))
    old = Cache(tmp_path / "cache")
    assert old.case("a").image.shape == (1, 12, 10, 8)
    assert {n: c for n, c in contents(old).items() if not n.startswith(".")} == before
    bad.write_bytes(kept)
    new = again(folders, tmp_path / "cache", spacing=(2.0,))
    assert new.case("a").image.shape == (1, 6, 5, 8)
    assert new.task_info.spacing == (2.0, 2.0, 2.0)


def test_no_room_for_the_manifest_changes_nothing(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = again(folders, tmp_path / "cache")
    before = contents(cache)

    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "manifest" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SimcvdError, match=r"manifest\.json: No space left on device"):
        again(folders, tmp_path / "cache", spacing=(2.0,))
    monkeypatch.undo()
    kept = contents(Cache(tmp_path / "cache"))
    assert {n: c for n, c in kept.items() if not n.startswith(".")} == before
    assert len(kept) == 2 * len(before)  # the new cases wait for their manifest
    assert Cache(tmp_path / "cache").case("a").image.shape == (1, 12, 10, 8)


def test_two_at_once_are_refused(folders: Path, tmp_path: Path) -> None:
    import fcntl

    again(folders, tmp_path / "cache")
    with (tmp_path / "cache" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SimcvdError, match="another `simcvd prepare` is writing"):
            again(folders, tmp_path / "cache")


def test_the_cache_says_what_is_wrong(folders: Path, tmp_path: Path) -> None:
    cache = again(folders, tmp_path / "cache")
    with pytest.raises(SimcvdError, match=r"3 labelled .* has 2 \(of 4 training scans\)"):
        cache.labeled(3)
    with pytest.raises(SimcvdError, match="scan 'b' has no label"):
        _ = cache.case("b").label
    with pytest.raises(SimcvdError, match="no scan 'zz'"):
        cache.case("zz")
    for name in ("a", "c"):
        (folders / "labels" / f"{name}.nii.gz").unlink()
    save(folders / "images" / "e.nii.gz", noise(9))
    save(folders / "labels" / "e.nii.gz", ball())
    (folders / "test.list").write_text("e")
    with pytest.raises(SimcvdError, match="none of the 4 training scans has a label"):
        again(folders, tmp_path / "cache").labeled(1)
    path = tmp_path / "cache" / "manifest.json"
    content = json.loads(path.read_text())
    for change, message in (
        ({"format": 99}, "has format 99, this version of simcvd reads 1"),
        ({"colour": "red"}, "is not a manifest"),
    ):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(SimcvdError, match=message):
            Cache(tmp_path / "cache")


def test_files_are_opened_only_when_read(folders: Path, tmp_path: Path) -> None:
    case = again(folders, tmp_path / "cache").case("a")
    for name in ("label.npy", "distance.npy"):
        (case.folder / name).unlink()
    assert case.image.dtype == np.float16
    assert isinstance(case.image, np.memmap)
    assert case.has_label
    with pytest.raises(SimcvdError, match=r"label\.npy: cannot be opened"):
        _ = case.label


def test_case_info_leads_back_to_the_source(folders: Path, tmp_path: Path) -> None:
    case = again(folders, tmp_path / "cache", spacing=(2.0,)).case("c")
    info = case.info
    assert info.sources.images[0].path == str((folders / "images" / "c.nii.gz").resolve())
    assert info.source_shape == (12, 10, 8)
    assert np.array_equal(info.source_affine, np.diag([1.0, 1.0, 2.0, 1.0]))
    assert info.spacing == (2.0, 2.0, 2.0)
    assert info.shape == case.image.shape[1:] == (6, 5, 8)
