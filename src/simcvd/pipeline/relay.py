"""What processes of their own write into their logs, said by the one that waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LOOK_SECONDS = 1.0  # between looks at the logs


@contextmanager
def relayed(logs: Mapping[str, Path], say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Say every line that is added to the logs while the block runs, each after its log's name.

    Gives a function that says at once what was added by now.
    """
    tails = {name: _Tail(log) for name, log in logs.items()}
    looking, ended = threading.Lock(), threading.Event()

    def look() -> None:
        with looking:
            for name, tail in tails.items():
                for line in tail.added():
                    say(f"{name}: {line}")

    def keep_looking() -> None:
        while not ended.wait(LOOK_SECONDS):
            look()

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield look
    finally:
        ended.set()
        thread.join()
        look()


class _Tail:
    """A file that grows, from its present end on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0

    def added(self) -> list[str]:
        """The lines that were finished since, without blank ones."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            whole, end, _ = file.read().rpartition(b"\n")
        self._at += len(whole + end)
        lines = map(str.strip, whole.decode(errors="replace").splitlines())
        return [line for line in lines if line]
