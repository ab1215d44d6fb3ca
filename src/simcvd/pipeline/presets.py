"""How much work a run does, and how its labelled scans are divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simcvd.layouts.patients import Fold, folds_by_patient
from simcvd.layouts.records import Source
from simcvd.planning import Plan
from simcvd.training.recipes import PAPER
from simcvd.types import SimcvdError

PresetName = Literal["quick", "standard", "full"]


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
    """A cross-validation: ``holdout`` of ``labeled`` scans are held out, ``count`` times.

    named: the scans of each fold, where they are dealt and not counted off the list, as those of
    patients with several scans and those of later rounds are; ``holdout`` is then the most of any.
    """

    labeled: int
    count: int
    holdout: int
    named: tuple[Fold, ...] = ()

    @classmethod
    def of(cls, named: Sequence[Fold]) -> Folds:
        """Folds that were dealt."""
        return cls(
            labeled=len(named[0].labeled) + len(named[0].holdout),
            count=len(named),
            holdout=max(len(fold.holdout) for fold in named),
            named=tuple(named),
        )

    @property
    def held(self) -> tuple[int, ...]:
        """Scans that are held out, of each fold."""
        return tuple(len(f.holdout) for f in self.named) or (self.holdout,) * self.count

    @property
    def trained_on(self) -> int:
        """Labelled scans of each training, at least."""
        return self.labeled - self.holdout

    @property
    def compared(self) -> int:
        """Scans that are held out once; the first few of the list may never be."""
        return sum(self.held)

    def sentence(self) -> str:
        """In words."""
        held = _span(self.held)
        trained = _span([self.labeled - n for n in self.held])
        patients = ", all scans of a patient on one side" if self.named else ""
        return (
            f"{self.labeled} labelled scans: in each of {self.count} folds, {held} are held out "
            f"and {trained} trained on{patients}; the methods are compared on {self.compared}."
        )


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def divide(labeled: int, preset: Preset) -> Folds:
    """The folds for so many labelled scans. Raises SimcvdError for fewer than two."""
    if labeled < 2:
        raise SimcvdError(
            f"{labeled} of the training scans have a label, and at least 2 are needed: one to "
            "train on, one to see how good the training was. Label more scans."
        )
    count = min(preset.folds, labeled)
    return Folds(labeled=labeled, count=count, holdout=labeled // count)


def deal(source: Source, preset: Preset) -> Folds:
    """The folds of a data set's labelled scans; no patient is on both sides of one.

    Raises SimcvdError where there is nothing to hold out, and for less than two patients.
    """
    cases = [source.cases[name] for name in source.train if name in source.cases]
    folds = divide(sum(case.label is not None for case in cases), preset)
    patients = {case.patient or case.name for case in cases}
    if len(patients) == len(cases):
        return folds
    labeled = {case.patient or case.name for case in cases if case.label is not None}
    return Folds.of(folds_by_patient(source, max(2, min(folds.count, len(labeled)))))
