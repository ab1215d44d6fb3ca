"""The settings of what is done to every scan before the network sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from simcvd.ranges import SPACINGS
from simcvd.records import younger
from simcvd.types import SimcvdError

Normalization = Literal["none", "zscore", "ct"]
Crop = Literal["none", "nonzero", "label"]
Number = int | float  # as it was given: 1 and 1.0 have different hashes
Margin = tuple[int | None, int | None, int | None]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is done to every scan before the network sees it.

    spacing: mm along the three RAS+ axes, or None to keep each scan's own.
    normalization: "none"; "zscore" over the whole scan, channel by channel; "ct" clips
    to `window` (Hounsfield units) first.
    crop: "nonzero" keeps the box of what is not background, "label" the ground truth's (see
    `simcvd.data.crop`); it comes before everything else, statistics included.
    margin: voxels left around that box along the RAS+ axes, of `spacing` where that is given,
    else of the scan's own; None leaves an axis whole.
    """

    spacing: tuple[Number, Number, Number] | None = None
    normalization: Normalization = "zscore"
    window: tuple[Number, Number] | None = None
    crop: Crop = younger("none")
    margin: Margin = younger((0, 0, 0), beside="crop")

    def __post_init__(self) -> None:
        if self.spacing is not None and not all(s in SPACINGS for s in self.spacing):
            raise SimcvdError(
                f"spacing must be three positive numbers in mm, {SPACINGS}, not {self.spacing}."
            )
        if self.normalization not in get_args(Normalization):
            choices = ", ".join(get_args(Normalization))
            raise SimcvdError(f"normalization '{self.normalization}' is none of: {choices}.")
        if (self.normalization == "ct") != (self.window is not None):
            raise SimcvdError("a window (low, high) goes with normalization 'ct', and only there.")
        if self.window is not None and not -np.inf < self.window[0] < self.window[1] < np.inf:
            raise SimcvdError(
                f"window {self.window}: needs two finite numbers, the low one below the high one."
            )
        self._check_crop()

    def _check_crop(self) -> None:
        if self.crop not in get_args(Crop):
            raise SimcvdError(f"crop '{self.crop}' is none of: {', '.join(get_args(Crop))}.")
        if any(voxels is not None and voxels < 0 for voxels in self.margin):
            raise SimcvdError(f"margin {self.margin}: needs three numbers of voxels, 0 or more.")
        if self.crop == "none" and self.margin != (0, 0, 0):
            raise SimcvdError("a margin goes with a crop, 'nonzero' or 'label'; give one of them.")
