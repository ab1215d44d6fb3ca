"""The next round: `simcvd run` typed again, as a process that outlives the page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simcvd.files import alive, began, read_object, write_json
from simcvd.types import SimcvdError

TAIL = 4000


def run_command(work: Path) -> list[str]:
    """The command line that goes on with a round: ``run.json`` says all else."""
    return [sys.executable, "-m", "simcvd.cli", "run", "--out", str(work)]


class Learning:
    """One process at a time. What it prints is kept in WORK/review/run.log.

    WORK/review/run.json: its number and start, so that a server started anew finds it again.
    """

    def __init__(self, work: Path) -> None:
        self.log, self.note = work / "review" / "run.log", work / "review" / "run.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, command: Sequence[str]) -> None:
        """Raises SimcvdError while a round is running."""
        with self._lock:
            if self._pid() is not None:
                raise SimcvdError("a round is already running; stop it, or wait until it ends")
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={**os.environ, "COLUMNS": "100"},
                )
            started = {"pid": self._process.pid, "start": began(self._process.pid)}
            write_json(self.note, {**started, "time": time.time()})

    def stop(self) -> None:
        """As Ctrl-C does: what is finished is kept, and the same command resumes."""
        if (pid := self._pid()) is not None:
            os.killpg(pid, signal.SIGINT)

    def state(self) -> dict[str, Any]:
        """state: "none", "running", "finished", "stopped" or "failed"; seconds; the log's end."""
        note = self._note()
        if note is None:
            return {"state": "none", "seconds": 0, "text": ""}
        running = self._pid() is not None
        end = time.time() if running else self.log.stat().st_mtime
        return {
            "state": "running" if running else self._ended(),
            "seconds": max(0, round(end - note["time"])),
            "text": self._tail(),
        }

    def _ended(self) -> str:
        code = self._process.poll() if self._process else None
        if code is None:  # of an earlier server: only its last words are known
            return "finished" if "segmentations:" in self._tail() else "stopped"
        if code in (130, -signal.SIGINT, -signal.SIGTERM):
            return "stopped"
        return "failed" if code else "finished"

    def _tail(self) -> str:
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - TAIL))
            return log.read().decode("utf-8", "replace")

    def _note(self) -> dict[str, Any] | None:
        try:
            note = read_object(self.note, "")
        except SimcvdError:
            return None
        return note if self.log.is_file() else None

    def _pid(self) -> int | None:
        """The process's number while it runs; a number that another process got does not count."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        note = self._note()
        if note is None or began(note["pid"]) != note["start"]:
            return None
        return int(note["pid"]) if alive(note["pid"]) else None
