"""Checkpoints: whole or absent, the last two kept, none of them runs code when read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from simcvd.types import SimcvdError

KEEP = 2


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``step_<n>.pt`` atomically, then drop all but the last two."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{step:08d}.pt"
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save({"step": step, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save wraps a full disk in a RuntimeError
        partial.unlink(missing_ok=True)
        raise SimcvdError(
            f"could not write {path}: {error}. Earlier checkpoints are untouched; "
            "make room and type the same command again to go on"
        ) from error
    for old in _checkpoints(folder)[:-KEEP]:
        old.unlink()
    return path


def load_latest(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, or None where there is none."""
    for path in reversed(_checkpoints(folder)):
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            return state
        except (OSError, RuntimeError, EOFError, ValueError):
            continue  # damaged from outside: the one before it is as good a start
    return None


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*.pt"))
