"""The next item is made while one works on this one, and errors come in their turn."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from threading import Event

import pytest

from simcvd.types import SimcvdError
from simcvd.workers.processes import ahead, in_parallel, on_workers


def test_the_next_is_made_while_this_one_is_worked_on() -> None:
    begun = {item: Event() for item in "abc"}

    def make(item: str) -> str:
        begun[item].set()
        return item.upper()

    made = []
    for item, result in ahead(make, "abc", eager=True):
        assert result() == item.upper()
        if item != "c":
            assert begun[chr(ord(item) + 1)].wait(60)
        made.append(item)
    assert made == [*"abc"]


@pytest.mark.parametrize("eager", [True, False])
def test_what_fails_is_raised_in_its_turn_and_stops_no_other(eager: bool) -> None:
    found = []
    for item, result in ahead(lambda n: 6 // n, [1, 0, 3], eager=eager):
        try:
            found.append(result())
        except ZeroDivisionError:
            found.append(-item - 1)
    assert found == [6, -1, 2]


def test_without_haste_nothing_is_made_before_it_is_asked_for() -> None:
    made: list[int] = []
    for item, result in ahead(made.append, [1, 2, 3], eager=False):
        assert item not in made
        result()
    assert made == [1, 2, 3]


def folder_of(item: int) -> str:
    return os.getcwd()


def test_processes_that_are_used_again_work_where_they_are_called_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths mean the same in them."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found = set(in_parallel(folder_of, range(4), 2, "looking", quiet=True))
        assert found == {str(tmp_path / name)}


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8786", "tcp://127.0.0.1", "tls://127.0.0.1:8786", "x:y", "::"]
)
def test_no_client_is_made_for_an_address_that_is_none(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that never began takes twenty seconds and a traceback to end with the process."""
    distributed = pytest.importorskip("distributed")
    made: list[object] = []
    monkeypatch.setattr(distributed, "Client", lambda *args, **_: made.append(args))
    told = pytest.raises(SimcvdError, match=f"no Dask scheduler answers at {address} ")
    with told, on_workers(address):
        pass
    assert not made


def test_joblib_does_not_say_that_an_idle_process_was_replaced(
    recwarn: pytest.WarningsRecorder,
) -> None:
    list(in_parallel(abs, range(2), 2, "", quiet=True))
    warnings.warn(
        "A worker stopped while some jobs were given to the executor. This can be caused by a too "
        "short worker timeout or by a memory leak.",
        stacklevel=1,
    )
    warnings.warn("another", stacklevel=1)
    assert [str(warning.message) for warning in recwarn] == ["another"]
