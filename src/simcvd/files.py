"""Files that are whole or absent: written beside their place, then renamed into it.

A full disk, a kill or a power cut leaves the old file or the new one, never half of either.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from simcvd.types import SimcvdError

_ADVICE = {
    errno.ENOSPC: "Make room on that disk, or choose another place",
    errno.EDQUOT: "Make room within your quota, or choose another place",
    errno.EFBIG: "Make room within your quota, or choose another place",
    errno.EACCES: "Choose a folder you may write to",
    errno.EPERM: "Choose a folder you may write to",
    errno.EROFS: "Choose a folder that is not read-only",
    errno.ENAMETOOLONG: "Choose a shorter name",
}


class CannotWrite(SimcvdError):
    """The place to write to is full, read-only or not there."""


@contextmanager
def replace_into(path: Path | str) -> Iterator[Path]:
    """A temporary path beside ``path``; what the block writes there becomes ``path`` at its end.

    The temporary name ends as the final one does (``.4711-mask.nii.gz``), for libraries that
    choose a format by it. Parent folders are made. When the block raises, the temporary file
    is removed and ``path`` is as it was. Raises CannotWrite in place of an OSError.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise CannotWrite(_complaint(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a whole file or leave ``path`` as it was; raises CannotWrite."""
    with replace_into(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """`write_bytes` of the text in UTF-8, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def append_text(path: Path | str, text: str) -> None:
    """Add text in UTF-8 at the end of a file; raises CannotWrite, maybe after part of it."""
    try:
        with Path(path).open("a", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise CannotWrite(_complaint(Path(path), error)) from error


def _flush(path: Path) -> None:
    """Wait until the file is on the disk: a rename may reach it earlier than the content."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _complaint(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "Mend that, or choose another place")
    return f"cannot write {path}: {reason}. {advice}; what was there before is untouched."
