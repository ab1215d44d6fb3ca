"""Along which axes a scan may be mirrored: where no class comes to mean another.

A left kidney, mirrored from left to right, looks like a right one and would still be called left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from simcvd.checking.compare import AXES
from simcvd.checking.places import Place

# Words that name a side, for each axis.
SIDES = (
    frozenset({"left", "right", "l", "r", "lt", "rt", "lh", "rh", "sinister", "dexter"}),
    frozenset({"anterior", "posterior", "ant", "post", "front", "back", "ventral", "dorsal"}),
    frozenset({"superior", "inferior", "sup", "inf", "upper", "lower", "cranial", "caudal"}),
)
# Of two classes' joint standard deviation along an axis: those whose centres lie nearer than this
# lie in or around one another, not side by side.
APART = 0.5


@dataclass(frozen=True, kw_only=True)
class Mirroring:
    """axes: array axes along which scans may be mirrored. reason: a sentence for the plan."""

    axes: tuple[int, ...]
    reason: str


def mirror_axes(names: Mapping[int, str], scans: Sequence[Mapping[int, Place]]) -> Mirroring:
    """The axes along which no class changes its meaning, and why the others are left out.

    names: of the foreground classes, by value. scans: for each labelled scan, `places_of` its
    classes.

    An axis is left out if a class is named after one of its sides, even without a partner: the
    right lung may be in the scan unlabelled. It is also left out if two classes lie side by side
    along it in the same order in every scan that has both, since nothing else may tell them
    apart. A single class whose name tells no side may be mirrored along all three axes.
    """
    objections = {
        axis: why
        for axis in range(3)
        if (why := _named_side(names, axis) or _same_order(names, scans, axis))
    }
    axes = tuple(axis for axis in range(3) if axis not in objections)
    allowed = f"Mirrored {_listed(axes)}" if axes else "Not mirrored"
    return Mirroring(axes=axes, reason="; ".join([allowed, *objections.values()]) + ".")


def _named_side(names: Mapping[int, str], axis: int) -> str | None:
    named = [name for value, name in names.items() if value and SIDES[axis] & _words(name)]
    if not named:
        return None
    return f"not {AXES[axis]}, whose sides name {' and '.join(map(repr, named[:2]))}"


def _words(name: str) -> set[str]:
    """ "LeftKidney_2" -> left, kidney, 2. A digit stays with its letters: L1 is no left."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return {word.lower() for word in re.findall(r"[^\W_]+", parted)}


def _same_order(
    names: Mapping[int, str], scans: Sequence[Mapping[int, Place]], axis: int
) -> str | None:
    for a, b in combinations(sorted(value for value in names if value), 2):
        gaps = [_gap(scan[a], scan[b], axis) for scan in scans if a in scan and b in scan]
        one_way = gaps and (min(gaps) > 0 or max(gaps) < 0)
        if one_way and abs(median(gaps)) >= APART:
            return (
                f"not {AXES[axis]}, along which {names[a]!r} and {names[b]!r} lie in the same "
                f"order in all {len(gaps)} labelled scans with both"
            )
    return None


def _gap(a: Place, b: Place, axis: int) -> float:
    """From one class's centre to the other's, in their joint standard deviation."""
    spread = (a.variance[axis] + b.variance[axis]) ** 0.5
    return (b.centre[axis] - a.centre[axis]) / max(spread, 1e-6)


def _listed(axes: tuple[int, ...]) -> str:
    *first, last = (AXES[axis] for axis in axes)
    return f"{', '.join(first)} and {last}" if first else last
