"""Checkpoints: whole or absent, the last two kept, none of them runs code when read.

A file is what torch writes, then `MARK` and the CRC-32 of that in hexadecimal: torch reads a zip
without looking at the checksums in it, and a flipped bit would be trained on.
"""

from __future__ import annotations

import io
import sys
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from simcvd.files import CannotWrite, remove, replace_into, sweep
from simcvd.types import SimcvdError

KEEP = 2
MARK = b"simcvd crc32 "
DIGITS = 8


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``step_<n>.pt`` atomically, then drop all but the last two up to it.

    Later ones are those that could not be read: counted, they would drive out this one.
    """
    path = folder / f"step_{step:08d}.pt"
    content = io.BytesIO()
    torch.save({"step": step, **state}, content)
    try:
        with replace_into(path) as temporary, temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.write(MARK + b"%08x" % zlib.crc32(content.getbuffer()))
    except CannotWrite as error:
        raise SimcvdError(
            f"could not write {path}: {error.__cause__ or error}. Earlier checkpoints are "
            "untouched; make room and re-run the same command to resume"
        ) from error
    reached = [one for one in _checkpoints(folder) if one.name <= path.name]
    left_by_a_kill = folder.glob(".*-step_*.pt")
    _drop((*reached[:-KEEP], *left_by_a_kill))
    return path


def load_latest(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint that is as it was written, or None where there is none.

    One that is passed over is named on the standard error. Raises SimcvdError where there are some
    and none can be read: a start from the beginning would overwrite them.
    """
    if folder.is_dir():
        sweep(folder)
    paths = _checkpoints(folder)
    for path in reversed(paths):
        try:
            state = _read(path, device)
        except (OSError, ValueError):  # damaged from outside: the one before it is as good a start
            print(f"{path}: cannot be read and is passed over", file=sys.stderr)
            continue
        if path == paths[-1]:  # a kill may have come before they were dropped
            _drop(paths[:-KEEP])
        return state
    if paths:
        raise SimcvdError(
            f"{folder}: none of {', '.join(path.name for path in paths)} can be read. Restore one "
            "of them, or move the folder away to train from the beginning"
        )
    return None


def latest_step(folder: Path) -> int | None:
    """The iteration that the newest checkpoint was written at, from its name; None without one."""
    names = [path.stem for path in _checkpoints(folder)]
    return int(names[-1].removeprefix("step_")) if names else None


def _drop(paths: Iterable[Path]) -> None:
    for path in paths:
        remove(path)


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    """The state in a file. Raises OSError or ValueError, whatever is wrong with it."""
    data = path.read_bytes()
    end = len(data) - len(MARK) - DIGITS
    body = memoryview(data)[:end] if data[end:].startswith(MARK) else memoryview(data)
    if len(body) < len(data):
        if data[-DIGITS:] != b"%08x" % zlib.crc32(body):
            raise ValueError("its checksum is another")
    else:  # written before there was one: the zip's own have to do
        _check_zip(data)
    try:
        state = torch.load(io.BytesIO(body), map_location=device, weights_only=True)
    except Exception as error:  # what is no state can fail in any way
        raise ValueError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
    if not isinstance(state, dict) or type(state.get("step")) is not int:
        raise ValueError("it holds no state of a training")
    return state


def _check_zip(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    if bad is not None:
        raise ValueError(f"{bad} in it is damaged")


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step_*.pt") if p.stem.removeprefix("step_").isdigit())
