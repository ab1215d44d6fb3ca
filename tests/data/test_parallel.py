"""The next item is made while one works on this one, and errors come in their turn."""

from __future__ import annotations

from threading import Event

import pytest

from simcvd.data.parallel import ahead


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
