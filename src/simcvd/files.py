"""Files that are whole or absent: written beside their place, then renamed into it.

A full disk, a kill or a power cut leaves the old file or the new one, never half of either. What
a killed process leaves beside it, ``.4711@1f2e3d4c-mask.nii.gz``, counts as nothing
(`contents`), and the next writer in that folder removes it. Every change that a command makes on
the disk goes through this module and is announced to `watch`, where the tests kill it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
import tomllib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from simcvd.types import SimcvdError

_ADVICE = {
    errno.ENOSPC: "Make room on that disk, or choose another place",
    errno.EDQUOT: "Make room within your quota, or choose another place",
    errno.EFBIG: "Make room within your quota, or choose another place",
    errno.EACCES: "Choose a folder you may write to",
    errno.EPERM: "Choose a folder you may write to",
    errno.EROFS: "Choose a folder that is not read-only",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EISDIR: "Give the name of a file in that folder, or another one",
}
# The machine stands in the name: on a shared disk a process of another one is not dead.
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
LEFTOVER = re.compile(r"\.(\d+)(?:@([0-9a-f]{8}))?-.")
LOCK = ".lock"
ABANDONED_SECONDS = 86400.0  # after which a leftover of another machine is nobody's any more
SEAL = "digest"
UTF8 = "utf-8-sig"  # for files that people edit
DEEPEST = 50  # brackets within brackets in a JSON file; ours have 6
CHUNK = 1 << 22
LONG_SWEEP = 0.002  # seconds: a folder of some thousand files


class CannotWrite(SimcvdError):
    """The place to write to is full, read-only or not there."""


def watch(operation: str, path: Path) -> None:
    """Called before every change on the disk: write, flush, rename, sync, append or remove."""


@contextmanager
def replace_into(path: Path | str) -> Iterator[Path]:
    """A temporary path beside ``path``; what the block writes there becomes ``path`` at its end.

    The temporary name ends as the final one does (``.4711@1f2e3d4c-mask.nii.gz``), for libraries
    that choose a format by it; the block may make a folder there instead of a file. Parent folders
    are made. When the block raises, the temporary file is removed and ``path`` is as it was. Raises
    CannotWrite in place of an OSError.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}@{HOST}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_at_times(path.parent, path.name)
        watch("write", path)
        yield temporary
        watch("flush", path)
        _flush(temporary)
        move(temporary, path)
    except OSError as error:
        raise CannotWrite(complaint(path, error)) from error
    finally:
        _discard(temporary)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a whole file or leave ``path`` as it was; raises CannotWrite."""
    with replace_into(path) as temporary:
        temporary.write_bytes(data)


def copy(source: Path, target: Path) -> None:
    """A file's bytes as ``target``, whole or not at all; raises CannotWrite."""
    with replace_into(target) as temporary:
        shutil.copyfile(source, temporary)


def write_text(path: Path | str, text: str) -> None:
    r"""`write_bytes` of the text in UTF-8, line ends as they are.

    A byte of a file's name that is no UTF-8 is written as ``\udcff`` and its like.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path | str, content: dict[str, Any]) -> None:
    """`write_text` of an object as JSON."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def append_text(path: Path | str, text: str) -> None:
    """Add text in UTF-8 at the end of a file; raises CannotWrite, maybe after part of it."""
    try:
        watch("append", Path(path))
        with Path(path).open("a", encoding="utf-8", newline="", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            with suppress(OSError):  # a pipe or a device has nothing to wait for
                os.fsync(file.fileno())
    except OSError as error:
        raise CannotWrite(complaint(Path(path), error)) from error


def move(source: Path, target: Path) -> None:
    """Rename within one disk; a folder takes the place of a folder, which is set aside first and
    removed last.

    Raises OSError; for a file in the place of a folder, too, which may hold anything.
    """
    if target.is_dir() and not source.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    watch("rename", target)
    old = _set_aside(target) if target.is_dir() else None
    os.replace(source, target)
    for folder in {target.parent, source.parent}:
        watch("sync", target)
        _sync(folder)
    if old:
        shutil.rmtree(old)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it as if at once. Raises OSError."""
    watch("remove", path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(_set_aside(path))
    else:
        path.unlink(missing_ok=True)


def contents(folder: Path) -> list[Path]:
    """What a folder holds, sorted; leftovers of killed processes and locks are nothing."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if not (LEFTOVER.match(p.name) or _is_lock(p.name)))


def sweep(folder: Path, name: str = "") -> None:
    """Remove what dead processes left in the folder.

    Earlier versions named a leftover ``.4711-NAME``, as anybody may name a file of theirs: such a
    one goes only where its NAME is the one given.
    """
    with os.scandir(folder) as entries:
        found = [entry.name for entry in entries if entry.name.startswith(".")]
    for one in found:
        match = LEFTOVER.match(one)
        ours = match and (match[2] or one == f".{match[1]}-{name}")
        if match and ours and _is_dead(folder / one, int(match[1]), match[2]):
            _discard(folder / one)


_quiet_until: dict[Path, float] = {}


def _sweep_at_times(folder: Path, name: str) -> None:
    """`sweep`, but in a large folder no more than a hundredth of the time goes into it."""
    started = time.monotonic()
    if started < _quiet_until.get(folder, 0):
        return
    sweep(folder, name)
    ended = time.monotonic()
    if ended - started > LONG_SWEEP:
        _quiet_until[folder] = ended + 100 * (ended - started)


def alive(pid: int) -> bool:
    """Whether a process of this machine runs; one that nobody has buried yet (Z) does not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    with suppress(OSError, IndexError):  # no /proc: taken to be alive
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX"
    return True


def began(pid: int) -> str:
    """When a process began, in the kernel's ticks: another of the same number began later."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "-"


def age(path: Path) -> float:
    """Seconds since a file was written. Raises OSError for one that is gone.

    A date in the future, as before a clock was put back, is as far off as one in the past: nothing
    that waits for a file to grow old waits for ever.
    """
    return abs(time.time() - path.lstat().st_mtime)


def checksum(path: Path) -> str:
    """Of a file's bytes: CRC-32 as eight hexadecimal digits, which every flipped bit changes."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            crc = zlib.crc32(block, crc)
    return f"{crc:08x}"


def stat_of(path: Path) -> tuple[str, int, int, int, int]:
    """Path, inode, size, mtime and ctime in ns: equal only while nobody touched the file.

    The last cannot be set by hand: a copy that keeps the date has another one.
    """
    s = path.stat()
    return (str(path.resolve()), s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)


def stats_of(paths: Iterable[Path]) -> str:
    """SHA-256 of `stat_of` of every file: one string for many."""
    return hashlib.sha256(repr([stat_of(path) for path in paths]).encode()).hexdigest()


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """The object of a JSON file; ``advice`` ends the message of what is missing or broken.

    Raises SimcvdError also for brackets nested beyond all sense, and for what is no object.
    """
    try:
        return parse_object(path.read_bytes())
    except OSError as error:
        raise SimcvdError(f"{path} cannot be read ({error.strerror}). {advice}") from error
    except ValueError as error:
        raise SimcvdError(f"{path} is broken ({error}). {advice}") from error


def parse_object(data: bytes) -> dict[str, Any]:
    """The object of a JSON text in UTF-8, with the mark that Windows sets before it or without.

    Raises ValueError, whatever is wrong with it.
    """
    try:
        content = json.loads(data.decode(UTF8), object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("brackets within brackets without end") from error
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, no JSON object")
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        inner = [list(v.values()) if isinstance(v, dict) else v for v in level]
        level = [v for values in inner for v in values if isinstance(v, dict | list)]
    if level:
        raise ValueError(f"more than {DEEPEST} brackets within brackets")
    return content


def parse_toml(text: str) -> dict[str, Any]:
    """The values of a TOML file. Raises ValueError, whatever is wrong with it."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("brackets within brackets without end") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these names; json's own takes of one that is there twice the last value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"holds {next(n for n in names if names.count(n) > 1)!r} twice")
    return found


def json_hash(content: Any) -> str:
    """SHA-256 of a value's JSON, keys sorted."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The object with a ``digest`` of all else in it, which `seal_holds` looks at."""
    plain = {name: value for name, value in content.items() if name != SEAL}
    return {**plain, SEAL: json_hash(plain)}


def seal_holds(content: dict[str, Any]) -> bool:
    """Whether an object read back is as it was sealed; one without a seal is taken as it is."""
    return SEAL not in content or content == sealed(content)


def complaint(path: Path, error: OSError) -> str:
    """What could not be written, why, and what to do."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "Fix that, or choose another place")
    return f"cannot write {path}: {reason}. {advice}; what was there before is untouched."


def _is_lock(name: str) -> bool:
    return name.endswith((LOCK, f"{LOCK}.owner"))


def _is_dead(path: Path, pid: int, host: str | None) -> bool:
    if host in (None, HOST) and not alive(pid):
        return True
    with suppress(OSError):
        return age(path) > ABANDONED_SECONDS
    return False


def _set_aside(folder: Path) -> Path:
    """Renamed to what counts as nothing, so that a kill leaves no folder of which half is gone."""
    aside = folder.with_name(f".{os.getpid()}@{HOST}-{folder.name}.old")
    os.replace(folder, aside)
    watch("remove", folder)
    return aside


def _discard(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _flush(path: Path) -> None:
    """Wait until it is on the disk, a folder with its files: a rename may reach it earlier."""
    if path.is_dir():
        for inner in path.iterdir():
            _flush(inner)
        _sync(path)
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Wait until names are on the disk, where the file system can be asked for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
