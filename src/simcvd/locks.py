"""A lock on a folder or file, which a process that dies loses, with or without ``flock``."""

from __future__ import annotations

import fcntl
import functools
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from simcvd.files import CannotWrite, age, alive, began, complaint
from simcvd.types import SimcvdError

POLL_SECONDS = 0.05
SILENT_SECONDS = 2.0  # of a wait, before it is told
UNWRITTEN_SECONDS = 5.0  # a lock file without an owner's name after this is a dead process's
Release = Callable[[], None]


@contextmanager
def locked(path: Path, busy: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock file ``path``; it is gone again afterwards. One process at a time has it.

    busy: the sentence for a lock that another process holds. wait: seconds to wait for it. Where
    the file system knows no ``flock``, a file with the owner's name takes its place; one whose
    owner is dead is broken. Raises SimcvdError, and CannotWrite where no file can be made.
    """
    until, tell = (time.monotonic() + seconds for seconds in (wait, SILENT_SECONDS))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (release := _take(path)) is None:
            if (now := time.monotonic()) >= until:
                raise SimcvdError(f"{busy}{_who(path)}")
            if now >= tell:
                print(f"{path.parent}: waiting for another process to leave it", file=sys.stderr)
                tell = math.inf
            time.sleep(POLL_SECONDS)
    except OSError as error:
        raise CannotWrite(complaint(path, error)) from error
    try:
        yield
    finally:
        with suppress(OSError):
            release()


def _take(path: Path) -> Release | None:
    """The function that gives the lock back, or None while somebody else has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # Lustre, some network and FUSE file systems: ENOSYS, EOPNOTSUPP, EBADF
        os.close(descriptor)
        path.unlink(missing_ok=True)
        _say_once(path.parent)
        return _take_by_name(path.with_name(path.name + ".owner"))

    def release() -> None:
        path.unlink(missing_ok=True)  # first, so that nobody locks a file without a name
        os.close(descriptor)

    if _is_file(descriptor, path):
        return release
    os.close(descriptor)  # its last owner has just removed it
    return _take(path)


@functools.cache
def _say_once(folder: Path) -> None:
    text = "this file system has no flock; a file with its owner's name is the lock"
    print(f"{folder}: {text}", file=sys.stderr)


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _take_by_name(owner: Path) -> Release | None:
    """The lock is the file: who makes it has it, and its owner's death is looked up."""
    try:
        descriptor = os.open(owner, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return _take_by_name(owner) if _broken(owner) else None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{socket.gethostname()} {os.getpid()} {began(os.getpid())}")
    return lambda: owner.unlink(missing_ok=True)


def _broken(owner: Path) -> bool:
    """Whether the lock was a dead process's, and is now gone."""
    text, age = _read(owner)
    words = text.split()
    if len(words) != 3 or not words[1].isdecimal():
        dead = age > UNWRITTEN_SECONDS
    else:
        host, pid, start = words
        here = host == socket.gethostname()
        dead = here and not (alive(int(pid)) and began(int(pid)) == start)
    if not dead:
        return False
    aside = owner.with_name(f".{os.getpid()}-{owner.name}")
    with suppress(FileNotFoundError, FileExistsError):
        os.replace(owner, aside)  # only one process can
        if _read(aside)[0] != text:  # another one broke it first, and has it now
            os.link(aside, owner)
        aside.unlink()
    return True


def _read(owner: Path) -> tuple[str, float]:
    """The lock's text and its age in seconds; one that has just gone is as old as can be."""
    try:
        return owner.read_text(encoding="utf-8", errors="replace"), age(owner)
    except FileNotFoundError:
        return "", float("inf")


def _who(path: Path) -> str:
    """Who holds a lock by name; ``flock`` does not tell."""
    owner = path.with_name(path.name + ".owner")
    text, _ = _read(owner)
    words = text.split()
    if len(words) != 3:
        return ""
    return (
        f" It is process {words[1]} on {words[0]}; if no such process runs there any more, "
        f"remove {owner}."
    )
