"""A reader that crashes or hangs stops its own file alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from simcvd.formats import child
from simcvd.types import SimcvdError

HERE = __name__


def crash(path: str, how: int) -> None:
    os.kill(os.getpid(), how)


def noisy(path: str) -> np.ndarray:
    """What a C library writes to the standard output must not get among the answers."""
    os.write(1, b"warning: " * 100)
    return np.arange(2_000_000)


def sleep(path: str) -> None:
    time.sleep(60)


def refuse(path: str) -> None:
    raise SimcvdError(f"{path}: no")


def fail(path: str) -> None:
    raise KeyError("odd")


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_a_sentence_and_the_next_file_is_read(how: signal.Signals) -> None:
    with pytest.raises(SimcvdError, match=rf"bad\.h5: crashes its reader \(signal {how.value}\)"):
        child.ask(Path("bad.h5"), f"{HERE}:crash", how)
    assert child.ask(Path("good.h5"), f"{HERE}:noisy").sum() == 1999999000000


def test_a_hang_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PATIENCE", 0.5)
    with pytest.raises(SimcvdError, match="takes too long"):
        child.ask(Path("bad.h5"), f"{HERE}:sleep")


def test_errors_come_back_as_they_are() -> None:
    with pytest.raises(SimcvdError, match=r"^a\.h5: no$"):
        child.ask(Path("a.h5"), f"{HERE}:refuse")
    with pytest.raises(ValueError, match="odd"):
        child.ask(Path("a.h5"), f"{HERE}:fail")
