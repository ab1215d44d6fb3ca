"""Who holds a scan open: one file a scan below WORK/review/locks, which its page keeps renewing.

A lock whose page was closed, or whose machine went away, is over after `EXPIRES` seconds.
"""

from __future__ import annotations

import getpass
import json
import socket
import time
from pathlib import Path
from typing import Any

from simcvd.files import age, read_object, write_json
from simcvd.types import SimcvdError

EXPIRES = 120.0


class Locks:
    """The locks of one round. tab: the random name that a page gives itself."""

    def __init__(self, work: Path) -> None:
        self.folder = work / "review" / "locks"

    def hold(self, name: str, tab: str, *, take: bool = False) -> dict[str, Any] | None:
        """Take or renew a lock; None if it is held now by ``tab``, else who holds it.

        take: take it over from whoever holds it.
        """
        held = self.holder(name)
        if held and held["tab"] != tab and not take:
            return held
        mine = held is not None and held["tab"] == tab
        since = held["since"] if held and mine else time.time()
        lock = {"tab": tab, "who": _reader(), "since": since}
        if held is None and not take:
            return self._begin(self._path(name), lock, name)
        write_json(self._path(name), lock)
        return None

    def _begin(self, path: Path, lock: dict[str, Any], name: str) -> dict[str, Any] | None:
        """Of two pages that take a free lock at once one gets it: the file is made only once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # one that is over
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(lock, file)
        except FileExistsError:
            return self.holder(name) or {"tab": "", "who": "another page", "since": time.time()}
        return None

    def holder(self, name: str) -> dict[str, Any] | None:
        """Tab, reader and since when of a lock that is not over."""
        path = self._path(name)
        try:
            if age(path) > EXPIRES:
                return None
            held = read_object(path, "")
        except (OSError, SimcvdError):
            return None
        return held if {"tab", "who", "since"} <= held.keys() else None

    def release(self, name: str, tab: str) -> None:
        """Give up a lock, if ``tab`` holds it."""
        held = self.holder(name)
        if held and held["tab"] == tab:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _reader() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "someone"
    return f"{user} on {socket.gethostname()}"
