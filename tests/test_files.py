"""Whole or absent: what is left of a file when the writing of it ends badly."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simcvd.files import append_text, replace_into, write_bytes, write_text
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
    write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
