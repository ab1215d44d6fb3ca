"""Numbers and names as they stand in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def counted(number: int, noun: str) -> str:
    """``1 scan``, ``3 scans``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def few(names: Sequence[str], limit: int = 5) -> str:
    """The first names in one line, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def by(sizes: Iterable[float], between: str = " x ") -> str:
    """``64 x 64 x 0.625``."""
    return between.join(f"{size:g}" for size in sizes)


def duration(seconds: float) -> str:
    """A time as one says it: ``50 s``, ``23 min``, ``1.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean a, b?``: what is known and near to an unknown name, or all that is."""
    names = list(dict.fromkeys(known))
    return f"did you mean {', '.join(get_close_matches(name, names, cutoff=0.5) or names)}?"
