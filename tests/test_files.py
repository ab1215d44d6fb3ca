"""Whole or absent: what is left of a file when the writing of it ends badly."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simcvd import files
from simcvd.files import (
    HOST,
    append_text,
    checksum,
    contents,
    read_object,
    remove,
    replace_into,
    seal_holds,
    sealed,
    stat_of,
    stats_of,
    sweep,
    write_bytes,
    write_text,
)
from simcvd.types import SimcvdError


def test_text_and_bytes_arrive_as_they_were_and_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "naïve\r\nλ\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "naïve\r\nλ\n".encode()
    write_bytes(tmp_path / "new" / "a.txt", b"\x00\xff")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\x00\xff"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_the_temporary_path_is_beside_the_final_one_and_ends_like_it(tmp_path: Path) -> None:
    with replace_into(tmp_path / "mask.nii.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.name.endswith("mask.nii.gz")
        temporary.write_bytes(b"1")
        assert not (tmp_path / "mask.nii.gz").exists()
    assert (tmp_path / "mask.nii.gz").read_bytes() == b"1"


def test_lines_are_added_as_they_are_and_a_full_disk_is_named(tmp_path: Path) -> None:
    append_text(tmp_path / "log", "λ\r\n")
    append_text(tmp_path / "log", "2\n")
    assert (tmp_path / "log").read_bytes() == "λ\r\n2\n".encode()
    with pytest.raises(SimcvdError, match=r"cannot write /dev/full: .*\. Make room on that disk"):
        append_text("/dev/full", "a line")


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_an_error_in_the_block_passes_and_leaves_the_old_file(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write(temporary: Path) -> None:
        temporary.write_text("half", encoding="utf-8")
        raise error

    with pytest.raises(type(error)), replace_into(path) as temporary:
        write(temporary)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text(encoding="utf-8") == "old"


def test_a_full_disk_is_named_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:  # as ext4 with delayed allocation reports it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SimcvdError, match=r"a\.txt: No space left on device\. Make room"):
        write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_device_without_room_refuses_the_bytes_themselves(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def write(temporary: Path) -> None:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 100_000)

    with pytest.raises(SimcvdError, match="No space left"), replace_into(path) as temporary:
        write(temporary)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    with pytest.raises(SimcvdError, match=r"cannot write .*file/a\.txt: .+ choose another"):
        write_text(tmp_path / "file" / "a.txt", "new")


def test_a_block_that_writes_nothing_is_named_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with (
        pytest.raises(SimcvdError, match=r"a\.txt: No such file"),
        replace_into(tmp_path / "a.txt"),
    ):
        pass
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"


def test_a_writer_killed_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    program = (
        "import os, sys\n"
        "from simcvd.files import replace_into\n"
        "with replace_into(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half', encoding='utf-8')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert ended.returncode == -9
    assert path.read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 2
    assert contents(tmp_path) == [path]  # the leftover counts as nothing
    write_text(tmp_path / "other.txt", "new")  # and goes with the next writing in this folder
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.txt", "other.txt"]


def test_only_leftovers_of_the_dead_are_swept(tmp_path: Path) -> None:
    dead, mine, here = 2**22 + 1, os.getpid(), HOST
    kept = [f".{mine}@{here}-b", f".{dead}@00000000-c", ".lock", ".hidden", "4711-d", ".2020-mine"]
    gone = [f".{dead}@{here}-e", f".{dead}-config.json"]  # the second as earlier versions did
    for name in (*kept, *gone):
        (tmp_path / name).write_text("half")
    (tmp_path / f".{dead}@{here}-folder").mkdir()
    sweep(tmp_path, "config.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)
    os.utime(tmp_path / kept[1], (1, 1))  # of another machine, and nobody's for years
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([kept[0], *kept[2:]])
    assert [p.name for p in contents(tmp_path)] == [".hidden", "4711-d"]


@pytest.mark.parametrize("link", [False, True])
def test_a_file_never_takes_the_place_of_a_folder(tmp_path: Path, link: bool) -> None:
    """``--json DIR`` for ``--json DIR/report.json``: whatever lies there stays there."""
    write_text(tmp_path / "data" / "deep" / "scan.nii", "mine")
    place = tmp_path / "data"
    if link:
        place = tmp_path / "link"
        place.symlink_to(tmp_path / "data")
    with pytest.raises(SimcvdError, match=r"cannot write .*: Is a directory\. Give the name of a"):
        write_text(place, "{}")
    assert (tmp_path / "data" / "deep" / "scan.nii").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"data", place.name}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with replace_into(tmp_path / "case") as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert [p.name for p in tmp_path.rglob("*")] == ["case", "new"]
    remove(tmp_path / "case")
    assert list(tmp_path.iterdir()) == []


def test_every_change_is_announced_before_it_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(files, "watch", lambda operation, path: seen.append(operation))
    write_text(tmp_path / "a", "1")
    append_text(tmp_path / "a", "2")
    remove(tmp_path / "a")
    assert seen == ["write", "flush", "rename", "sync", "append", "remove"]


def test_names_that_are_no_utf_8_are_written_readably(tmp_path: Path) -> None:
    name = os.fsdecode(b"scan\xff")
    write_text(tmp_path / "a", name)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "scan\\udcff"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1]", "holds a list"),
        ("{" * 3, "Expecting"),
        ("[" * 100_000, "without end"),
        ('{"a":' * 60 + "1" + "}" * 60, "more than 50 brackets"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "holds 'b' twice"),
        ("\udcff", "utf-8"),
    ],
)
def test_what_is_no_object_is_refused_in_a_sentence(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SimcvdError, match=rf"a\.json is broken \(.*{problem}.*\)\. Mend it"):
        read_object(path, "Mend it")
    with pytest.raises(SimcvdError, match=r"b\.json cannot be read \(No such file"):
        read_object(tmp_path / "b.json", "Mend it")


def test_the_mark_that_an_editor_of_windows_sets_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8-sig")
    assert read_object(tmp_path / "a.json", "") == {"a": 1}


def test_a_seal_tells_every_change() -> None:
    content = {"a": [1, 2.5, None], "b": {"c": "d"}}
    whole = json.loads(json.dumps(sealed(content)))
    assert seal_holds(whole)
    assert seal_holds(content)  # was never sealed
    assert sealed(whole) == whole
    assert not seal_holds({**whole, "a": [1, 2.25, None]})
    assert not seal_holds({**whole, "e": 0})


def test_a_file_that_was_swapped_or_replaced_has_another_stat(tmp_path: Path) -> None:
    """Same path, size and date each time: only inode or change time tell."""
    a, b = tmp_path / "a", tmp_path / "b"
    for path, text in ((a, "1"), (b, "2")):
        path.write_text(text)
        os.utime(path, (1.7e9, 1.7e9))
    before = stat_of(a)
    assert stat_of(a) == before
    a.rename(tmp_path / "c")
    b.rename(a)
    assert stat_of(a) != before
    assert stats_of([a, tmp_path / "c"]) != stats_of([tmp_path / "c", a])
    before = stat_of(a)
    time.sleep(0.02)
    a.write_text("3")
    os.utime(a, (1.7e9, 1.7e9))
    assert stat_of(a)[:4] == before[:4]
    assert stat_of(a) != before
    (tmp_path / "nine").write_bytes(b"123456789")
    assert checksum(tmp_path / "nine") == "cbf43926"  # the check value of CRC-32/ISO-HDLC
