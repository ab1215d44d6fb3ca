"""Numbers and names as they stand in a sentence."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """``1 scan``, ``3 scans``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def few(names: Sequence[str], limit: int = 5) -> str:
    """The first names in one line, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
