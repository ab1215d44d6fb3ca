"""Checkpoints: whole or absent, the last two kept, none of them runs code when read."""

from __future__ import annotations

import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from simcvd.files import CannotWrite, replace_into
from simcvd.types import SimcvdError

KEEP = 2


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``step_<n>.pt`` atomically, then drop all but the last two."""
    path = folder / f"step_{step:08d}.pt"
    try:
        with replace_into(path) as temporary, temporary.open("wb") as file:
            torch.save({"step": step, **state}, file)
    except (CannotWrite, RuntimeError) as error:  # torch.save wraps a full disk in a RuntimeError
        reason = error.__cause__ or error.__context__ or error
        raise SimcvdError(
            f"could not write {path}: {reason}. Earlier checkpoints are untouched; make room "
            "and type the same command again to go on"
        ) from error
    left_by_a_kill = folder.glob(".*-step_*.pt")
    for old in (*_checkpoints(folder)[:-KEEP], *left_by_a_kill):
        old.unlink()
    return path


def load_latest(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None where there is none.

    One that is passed over is named on the standard error. Raises SimcvdError where there are some
    and none can be read: a start from the beginning would overwrite them.
    """
    paths = _checkpoints(folder)
    for path in reversed(paths):
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            return state
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError):
            # Damaged from outside: the one before it is as good a start.
            print(f"{path}: cannot be read and is passed over", file=sys.stderr)
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


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*.pt"))
