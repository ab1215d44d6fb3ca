"""Where the windows of a sliding-window prediction stand, and in which order they are visited.

Windows stand at exact multiples of the stride and the last one flush with the border,
as the scripts of the left-atrium benchmark place them: ``ceil((size - patch) / stride) + 1``
positions an axis, 1,128 windows for its 20 test scans at stride 18 x 18 x 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from math import ceil, prod

from simcvd.types import IntTriple, SimcvdError


def axis_starts(size: int, patch: int, stride: int, *, even: bool = False) -> tuple[int, ...]:
    """First voxel of every window along one axis of ``size`` >= ``patch`` voxels.

    even: as many windows, at equal distances instead of the stride's exact multiples.
    """
    count = ceil((size - patch) / stride) + 1
    if even and count > 1:
        return tuple(index * (size - patch) // (count - 1) for index in range(count))
    return tuple(min(index * stride, size - patch) for index in range(count))


@dataclass(frozen=True)
class Group:
    """Neighbouring window positions of one axis that are summed up together.

    starts: first voxels of the windows. stop: one past the last voxel they cover.
    done: voxels before this one are touched by no later group.
    """

    starts: tuple[int, ...]
    stop: int
    done: int

    @property
    def start(self) -> int:
        """The group's first voxel."""
        return self.starts[0]


def axis_groups(starts: tuple[int, ...], patch: int) -> list[Group]:
    """One group a position, the flush last one joined to its neighbour if it stands closer.

    Two groups share ``patch - step`` voxels whose sums must be kept; a last step of one
    voxel would keep nearly a whole patch, joining the two keeps only the ordinary overlap.
    """
    members: list[tuple[int, ...]] = [(start,) for start in starts]
    if len(starts) > 2 and starts[-1] - starts[-2] < starts[1] - starts[0]:
        members[-2:] = [starts[-2:]]
    nexts = [group[0] for group in members[1:]] + [starts[-1] + patch]
    return [Group(m, m[-1] + patch, done) for m, done in zip(members, nexts, strict=True)]


@dataclass(frozen=True)
class Grid:
    """All windows of one scan.

    shape: X, Y, Z of the scan, each at least as large as the patch.
    patch, stride: of the windows, in voxels.
    tapered: windows stand at equal distances and weigh less towards their border.
    """

    shape: IntTriple
    patch: IntTriple
    stride: IntTriple
    tapered: bool = False

    def __post_init__(self) -> None:
        if min(self.patch) < 1 or min(self.stride) < 1:
            raise SimcvdError(
                f"sliding window: patch {self.patch} and stride {self.stride}; "
                "every size must be 1 voxel or more"
            )
        if any(s > p for s, p in zip(self.stride, self.patch, strict=True)):
            raise SimcvdError(
                f"sliding window: stride {self.stride} is larger than the patch {self.patch}, "
                "so voxels would be skipped; choose a stride of at most the patch"
            )

    @cached_property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """Window positions along X, Y and Z."""
        axes = zip(self.shape, self.patch, self.stride, strict=True)
        return tuple(axis_starts(*axis, even=self.tapered) for axis in axes)

    @cached_property
    def groups(self) -> tuple[list[Group], ...]:
        """Groups of positions along X, Y and Z."""
        return tuple(axis_groups(*axis) for axis in zip(self.starts, self.patch, strict=True))

    @property
    def count(self) -> int:
        """How many windows there are."""
        return prod(map(len, self.starts))

    def weights(self, axis: int) -> list[float]:
        """What a window's voxels weigh along ``axis``; a voxel's weight is the product over axes.

        1 for all, or tapered from 1 in the middle in equal steps: a network knows least at the
        border of its patch, where it sees zeros instead of the scan.
        """
        last = self.patch[axis] - 1
        if not self.tapered:
            return [1.0] * (last + 1)
        return [(min(index, last - index) + 1) / (last // 2 + 1) for index in range(last + 1)]

    def coverage(self, axis: int) -> list[float]:
        """Summed weights of the windows over each index of ``axis``; multiplied over axes too."""
        total = [0.0] * self.shape[axis]
        weights = self.weights(axis)
        for start in self.starts[axis]:
            for index, weight in enumerate(weights, start):
                total[index] += weight
        return total

    @cached_property
    def order(self) -> IntTriple:
        """Axes as slab, row and column: windows run fastest along the columns.

        Of the six orders the one that keeps the fewest voxels waiting; for most scans
        its slabs lie across the longest axis.
        """
        orders = [(a, b, c) for a, b, c in permutations(range(3))]
        return min(orders, key=self.kept_voxels)

    def overlap(self, axis: int) -> int:
        """The most voxels along ``axis`` that a group shares with the next one."""
        return max(group.stop - group.done for group in self.groups[axis])

    def thickness(self, axis: int) -> int:
        """The most voxels along ``axis`` that a group covers."""
        return max(group.stop - group.start for group in self.groups[axis])

    def kept_voxels(self, order: IntTriple) -> int:
        """Voxels whose sums are held at once: what the next slab shares, and one row of windows."""
        slab, row, column = order
        waiting = self.overlap(slab) * self.shape[row]
        return (waiting + self.thickness(slab) * self.thickness(row)) * self.shape[column]

    def walk(self) -> Iterator[IntTriple]:
        """First voxels of the windows, as X, Y, Z, in the order they are summed up."""
        slab, row, _ = self.order
        for slabs in self.groups[slab]:
            for rows in self.groups[row]:
                yield from self.walk_row(slabs, rows)

    def walk_row(self, slabs: Group, rows: Group) -> Iterator[IntTriple]:
        """The part of `walk` that belongs to one group of slabs and one of rows."""
        starts: list[tuple[int, ...]] = [slabs.starts, rows.starts, self.starts[self.order[2]]]
        x, y, z = (self.order.index(axis) for axis in range(3))
        for at in product(*starts):
            yield at[x], at[y], at[z]
