"""Sentences about one thing and about many."""

from __future__ import annotations

from simcvd.wording import counted, few


def test_one_is_singular() -> None:
    assert [counted(n, "scan") for n in (0, 1, 2)] == ["0 scans", "1 scan", "2 scans"]


def test_the_rest_is_counted() -> None:
    assert few(["a", "b"]) == "a, b"
    assert few(list("abcdefg"), 3) == "a, b, c and 4 more"
