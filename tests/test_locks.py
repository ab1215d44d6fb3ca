"""One process at a time, with and without ``flock``; a dead owner's lock is nobody's."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simcvd.locks import _take_by_name, locked
from simcvd.types import SimcvdError

HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "import simcvd.locks as locks\n"
    "def no(*_): raise OSError(38, 'Function not implemented')\n"
    "if sys.argv[2] == 'without': locks.fcntl.flock = no\n"
    "with locks.locked(Path(sys.argv[1]), 'busy.'):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


@pytest.fixture(params=["with", "without"])
def flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "without":

        def no(*_: object) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fcntl, "flock", no)
    return str(request.param)


def holder(path: Path, flock: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(path), flock]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_held_once_and_gone_afterwards(tmp_path: Path, flock: str) -> None:
    path = tmp_path / "new" / ".lock"
    with locked(path, "busy."):
        assert len(list(path.parent.iterdir())) == 1
        with pytest.raises(SimcvdError, match=r"^busy\."), locked(path, "busy."):
            pass
    assert list(path.parent.iterdir()) == []
    with locked(path, "busy."):
        pass


def test_a_dead_owner_s_lock_is_broken(tmp_path: Path, flock: str) -> None:
    path = tmp_path / ".lock"
    with holder(path, flock) as process:
        with pytest.raises(SimcvdError, match="busy"), locked(path, "busy."):
            pass
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir())  # the kill left it there
    with locked(path, "busy."):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_owner_s_file_of_anything_is_broken_when_it_is_old(tmp_path: Path) -> None:
    """Also one of a time to come, as before a clock was put back."""
    for text in (b"", b"\xff\xfe", b"host \xc2\xb2 7", b"host 7"):
        for date in (1, time.time() + 10**6):
            owner = tmp_path / ".lock.owner"
            owner.write_bytes(text)
            os.utime(owner, (date, date))
            release = _take_by_name(owner)
            assert release is not None
            release()


def test_a_link_in_the_lock_s_place_makes_no_file_elsewhere(tmp_path: Path, flock: str) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(SimcvdError, match="cannot write"), locked(tmp_path / ".lock", "busy."):
        pass
    assert not (tmp_path / "victim").exists()


def test_waiting_takes_it_when_it_is_given_back(tmp_path: Path, flock: str) -> None:
    path = tmp_path / ".lock"
    with holder(path, flock) as process:
        with pytest.raises(SimcvdError, match="busy"), locked(path, "busy.", wait=0.2):
            pass
        process.terminate()
        started = time.monotonic()
        with locked(path, "busy.", wait=30):
            pass
        assert time.monotonic() - started < 20


def test_another_machine_s_lock_is_named_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no)
    owner = tmp_path / ".lock.owner"
    owner.write_text("elsewhere 1 7")
    message = r"busy\. It is process 1 on elsewhere; .*remove"
    with pytest.raises(SimcvdError, match=message), locked(tmp_path / ".lock", "busy."):
        pass
    # The number of a dead process that another one has now: it began at another time.
    owner.write_text(f"{socket.gethostname()} {os.getpid()} 7")
    with locked(tmp_path / ".lock", "busy."):
        pass
    owner.write_text("")  # killed between making and writing it
    os.utime(owner, (1, 1))
    with locked(tmp_path / ".lock", "busy."):
        pass
