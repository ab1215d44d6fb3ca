"""How much work a run does, and how its labelled scans are divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simcvd.engine.recipes import PAPER
from simcvd.planning import Plan
from simcvd.types import SimcvdError

PresetName = Literal["quick", "standard", "full"]
# With so many labelled scans a quarter of them, held out once, says as much as ten others would.
MANY = 40
MANY_SHARE = 4


@dataclass(frozen=True, kw_only=True)
class Preset:
    """folds: trainings of each method, to compare them. memory: bytes a plan may fill, or None."""

    name: PresetName
    folds: int
    memory: int | None

    def planned(self, plan: Plan) -> Plan:
        """The plan as far as this preset goes with it."""
        if self.name == "full":
            return plan
        if self.name == "quick":
            return plan.quick()
        if plan.recipe == PAPER.name:
            return plan.shorter(iterations=2000)
        return plan.shorter(base=1500, iterations=1000)


QUICK = Preset(name="quick", folds=2, memory=2 * 2**30)
STANDARD = Preset(name="standard", folds=3, memory=None)
FULL = Preset(name="full", folds=5, memory=None)
PRESETS = {preset.name: preset for preset in (QUICK, STANDARD, FULL)}


@dataclass(frozen=True, kw_only=True)
class Folds:
    """A cross-validation: ``holdout`` of ``labeled`` scans are held out, ``count`` times."""

    labeled: int
    count: int
    holdout: int

    @property
    def trained_on(self) -> int:
        """Labelled scans of each training."""
        return self.labeled - self.holdout

    @property
    def compared(self) -> int:
        """Scans that are held out once; the first few of the list may never be."""
        return self.count * self.holdout

    def sentence(self) -> str:
        """In words."""
        times = "once" if self.count == 1 else f"in each of {self.count} folds"
        return (
            f"{self.labeled} labelled scans: {times}, {self.holdout} are held out and "
            f"{self.trained_on} trained on; the methods are compared on {self.compared}."
        )


def divide(labeled: int, preset: Preset) -> Folds:
    """The folds for so many labelled scans. Raises SimcvdError for fewer than two."""
    if labeled < 2:
        raise SimcvdError(
            f"{labeled} of the training scans have a label, and at least 2 are needed: one to "
            "train on, one to see how good the training was. Label more scans."
        )
    if labeled >= MANY:
        return Folds(labeled=labeled, count=1, holdout=labeled // MANY_SHARE)
    count = min(preset.folds, labeled)
    return Folds(labeled=labeled, count=count, holdout=labeled // count)
