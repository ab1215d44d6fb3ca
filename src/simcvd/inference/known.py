"""What a training's labelled scans tell of its model: what is usual, and how well it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from simcvd.ranges import Natural, Range, Settings, Weight, plain
from simcvd.types import SimcvdError

Three = tuple[float, float, float]
PERCENTILES = (1, 50, 99)
# With fewer labelled scans nothing is called unusual.
FEWEST = 4
# How far a volume may lie from the median: robust deviations, each of 10 % at least.
DEVIATIONS, LEAST_SPREAD = 3.0, 0.1
# How far intensities may: times as far as any labelled scan's, and a tenth of the usual range.
SHIFT_TIMES, LEAST_SHIFT = 1.5, 0.10
MAD = 1.4826  # the standard deviation over the median absolute deviation of a normal distribution


@dataclass(frozen=True, kw_only=True)
class Usual(Settings):
    """What labelled scans are like.

    volumes: smallest, median and largest ml of each foreground class where it is present; None for
    one that some scan lacks. spread: robust deviation of the logarithm. pieces: the most of each
    class. percentiles: medians over scans, ``[C][3]``, of the network's input. shift: the largest
    `shift_of` any of them.
    """

    group: ClassVar[str] = "usual"
    scans: Natural
    volumes: Annotated[tuple[Three | None, ...], Range(above=0)]
    spread: Annotated[tuple[float, ...], Range(least=0)]
    pieces: Annotated[tuple[int, ...], Range(least=0)]
    percentiles: Annotated[tuple[Three, ...], Range()]
    shift: Weight

    def __post_init__(self) -> None:
        super().__post_init__()
        measured = zip(self.volumes, self.spread, strict=False)
        sizes = {len(self.volumes), len(self.spread), len(self.pieces)}
        if len(sizes) > 1 or any(ends and not spread for ends, spread in measured):
            raise SimcvdError("usual: volumes, spread and pieces are not of the same classes")

    @classmethod
    def of(cls, volumes: np.ndarray, pieces: np.ndarray, percentiles: np.ndarray) -> Usual:
        """volumes, pieces: ``[N, K - 1]``, ml and counts. percentiles: ``[N, C, 3]``."""
        columns = [column if (column > 0).all() else None for column in volumes.T]
        middle = np.median(percentiles, axis=0)
        return cls(
            scans=len(volumes),
            volumes=tuple(None if c is None else _ends(c) for c in columns),
            spread=tuple(0.0 if c is None else _spread(np.log(c)) for c in columns),
            pieces=plain(pieces.max(axis=0)),
            percentiles=plain(middle),
            shift=max(_shift(one, middle) for one in percentiles),
        )

    def deviation(self, index: int, ml: float) -> float | None:
        """Robust deviations of a class's volume from the median; None where nothing is usual."""
        volumes = self.volumes[index - 1]
        if volumes is None or self.scans < FEWEST:
            return None
        return math.log(ml / volumes[1]) / self.spread[index - 1] if ml > 0 else -math.inf

    def unusual_volume(self, index: int, ml: float) -> str:
        """In words, or "": beyond `DEVIATIONS` and beyond every labelled scan."""
        away, volumes = self.deviation(index, ml), self.volumes[index - 1]
        if away is None or volumes is None:
            return ""
        low, _, high = volumes
        if abs(away) <= DEVIATIONS or low <= ml <= high:
            return ""
        return f"{'small' if ml < low else 'large'}, {low:.3g} to {high:.3g} ml are usual"

    def shift_of(self, scan: np.ndarray) -> float:
        """How far a scan's intensities ``[C, X, Y, Z]`` lie from the usual, as `_shift` says."""
        return _shift(percentiles_of(scan), np.array(self.percentiles))

    def is_shifted(self, shift: float) -> bool:
        """Whether intensities lie farther off than those of labelled scans do."""
        return self.scans >= FEWEST and shift > max(LEAST_SHIFT, SHIFT_TIMES * self.shift)


@dataclass(frozen=True, kw_only=True)
class Known:
    """usual: see `Usual`. expected: Dice in 0..1 by class name as [mean, low, high], measured on
    ``scans`` scans that were held out from trainings of the same kind; None where too few tell an
    interval. largest_only: classes of which every piece but the largest is removed, since that did
    better on these scans.
    """

    usual: Usual
    expected: dict[str, tuple[float | None, float | None, float | None]] = field(
        default_factory=dict
    )
    scans: int = 0
    largest_only: list[int] = field(default_factory=list)

    def refuse_others(self, classes: int, channels: int) -> None:
        """Raise SimcvdError for a model of other classes, background included, or channels."""
        sizes = len(self.usual.volumes) + 1, len(self.usual.percentiles)
        if sizes != (classes, channels) or not {*self.largest_only} <= {*range(1, classes)}:
            raise SimcvdError("model: what is known of it is of other classes or channels")


def percentiles_of(scan: np.ndarray) -> np.ndarray:
    """1st, 50th and 99th percentile of each channel, ``[C, 3]``, of voxels evenly taken."""
    few = scan[(slice(None), *(slice(None, None, max(1, n // 64)) for n in scan.shape[1:]))]
    flat = np.asarray(few, np.float32).reshape(len(few), -1)
    return np.asarray(np.percentile(flat, PERCENTILES, axis=1).T)


def _shift(percentiles: np.ndarray, usual: np.ndarray) -> float:
    """The largest difference of a percentile ``[C, 3]``, as a share of the usual range."""
    width = np.maximum(usual[:, 2] - usual[:, 0], 1e-6)
    return float((np.abs(percentiles - usual) / width[:, None]).max())


def _ends(values: np.ndarray) -> Three:
    return float(values.min()), float(np.median(values)), float(values.max())


def _spread(values: Sequence[float] | np.ndarray) -> float:
    away = np.abs(np.asarray(values) - np.median(values))
    return max(MAD * float(np.median(away)), LEAST_SPREAD)
