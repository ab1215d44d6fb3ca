"""Ranges of settings, written into their types and checked whenever settings are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from math import inf, isfinite
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

from simcvd.types import SimcvdError


@dataclass(frozen=True, kw_only=True)
class Range:
    """Finite numbers above or from a lower end, up to or below an upper one."""

    above: float = -inf
    least: float = -inf
    most: float = inf
    below: float = inf

    def __contains__(self, number: float) -> bool:
        return self.above < number < self.below and self.least <= number <= self.most

    def __str__(self) -> str:
        ends = {
            "above": self.above,
            "at least": self.least,
            "at most": self.most,
            "below": self.below,
        }
        return " and ".join(f"{word} {end:g}" for word, end in ends.items() if isfinite(end))


Natural = Annotated[int, Range(least=0)]
Count = Annotated[int, Range(least=1)]
Several = Annotated[int, Range(least=2)]
Positive = Annotated[float, Range(above=0)]
Weight = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]
BelowOne = Annotated[float, Range(least=0, below=1)]
# Of voxels, in mm: of anything from a microscope's stack to a survey scan.
SPACINGS = Range(least=1e-3, most=1e3)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Frozen settings; a field ``tau: Positive = 0.5`` refuses what is not above 0.

    group: what stands before the dot in ``--set group.field=value``.

    Raises:
        SimcvdError: on construction, for a number out of its field's range.
    """

    group: ClassVar[str] = "method"

    def __post_init__(self) -> None:
        for field in fields(self):  # numpy's numbers would not go into a record
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        for name, allowed in ranges(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            wrong = [number for number in _numbers(value) if number not in allowed]
            if wrong:
                finite = "" if all(number in Range() for number in wrong) else "finite"
                must = " and ".join(filter(None, (finite, str(allowed))))
                raise SimcvdError(f"{self.group}.{name.rstrip('_')} is {value}; it must be {must}")


@cache
def ranges(settings: type[Settings]) -> dict[str, Range]:
    """The range of every field that has one; it holds for each number of a tuple, not for None."""
    hints = get_type_hints(settings, include_extras=True)
    return {
        field.name: note
        for field in fields(settings)
        for note in get_args(hints[field.name])
        if isinstance(note, Range)
    }


def plain(value: Any) -> Any:
    """numpy's numbers and arrays as Python's numbers and tuples, at every depth."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
    elif value is not None:
        yield value
