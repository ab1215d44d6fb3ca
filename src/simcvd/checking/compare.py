"""One scan held against the others: outliers, copies, and left for right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from simcvd.checking.facts import CaseFacts, ImageFacts
from simcvd.checking.findings import Finding, Kind, Severity
from simcvd.wording import few

# Fewer scans than this say nothing about what is usual.
MIN_SCANS = 5
# Robust z-score, (value - median) / (1.4826 * median absolute deviation), from which on a scan
# stands out. Iglewicz and Hoaglin (1993) propose 3.5 for a human eye on one variable; here
# several are tested at once.
OUTLIER = 6.0
# The least spread taken for usual, so that scans from one scanner are no outliers by a hair:
# spacing and size as logarithms (2 %, 5 %), intensity as a share of the usual range.
FLOORS: dict[str, tuple[Kind, float]] = {
    "voxel size": ("outlier spacing", 0.02),
    "extent": ("outlier size", 0.05),
    "intensity": ("outlier intensity", 0.05),
}
AXES = ("left-right", "front-back", "foot-head")
# A side is clear if so many of the others agree, and so far from the middle (share of the width).
AGREE, CLEAR = 0.9, 0.02


def compare(facts: Sequence[CaseFacts], train: Sequence[str], test: Sequence[str]) -> list[Finding]:
    """Everything about scans that only the other scans show to be unusual."""
    images = [f for f in facts if f.image]
    return [
        *_outliers(images),
        *_copies(facts, set(train), set(test)),
        *_rare_values(facts),
        *_sides(facts),
        *_small_objects(facts),
    ]


def small_objects(facts: Sequence[CaseFacts], voxel: float) -> list[tuple[CaseFacts, int, float]]:
    """Scans, values and mm3 of labelled objects smaller than half a voxel of so many mm3.

    Such an object is the larger part of no voxel, and so is lost where labels are resampled.
    """
    return [
        (one, value, size)
        for one in facts
        for value, size in (one.label.smallest if one.label else {}).items()
        if size < 0.5 * voxel
    ]


def _small_objects(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Objects that may be lost when all scans are brought to the usual voxel size."""
    spacings = [one.image.spacing for one in facts if one.image]
    voxel = float(np.prod(np.median(spacings, axis=0))) if spacings else 0.0
    return [
        _finding(
            one,
            "small object",
            f"{one.case.label}: an object of value {value} has {size:.3g} mm3, less than half a "
            f"voxel of the usual size ({voxel:.3g} mm3), and is lost if scans are brought to that.",
        )
        for one, value, size in small_objects(facts, voxel)
    ]


def robust_z(values: np.ndarray, floor: float) -> np.ndarray:
    """Robust z-scores of ``[N]`` values; `floor` is the smallest spread that counts."""
    median = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - median))
    scores: np.ndarray = (values - median) / max(float(spread), floor)
    return scores


def _finding(facts: CaseFacts, kind: Kind, message: str, severity: Severity = "warning") -> Finding:
    file = str(facts.case.images[0])
    return Finding(severity=severity, kind=kind, scan=facts.case.name, file=file, message=message)


class Measure(NamedTuple):
    """One number a scan, ``[N]``, as it is shown, and as it is compared."""

    what: str
    name: str
    unit: str
    values: np.ndarray
    scaled: np.ndarray


def measures(images: Sequence[ImageFacts]) -> list[Measure]:
    """Voxel size and extent along each RAS+ axis, percentiles of each channel's intensities.

    Lengths are compared as logarithms, intensities as shares of the usual range.
    """
    spacings = np.array([image.spacing for image in images])
    extents = spacings * np.array([image.shape for image in images])
    found = []
    for name, size, extent in zip(AXES, spacings.T, extents.T, strict=True):
        found.append(Measure("voxel size", name, " mm", size, np.log(size)))
        found.append(Measure("extent", name, " mm", extent, np.log(extent)))
    percentiles = np.array([image.percentiles for image in images])  # [N, C, 3]
    for channel, values in enumerate(percentiles.transpose(1, 2, 0)):
        place = f" of channel {channel}" if percentiles.shape[1] > 1 else ""
        usual = max(float(np.median(values[2] - values[0])), 1e-12)
        for name, row in zip(("1st percentile", "median", "99th percentile"), values, strict=True):
            found.append(Measure("intensity", f"{name}{place}", "", row, row / usual))
    return found


def _outliers(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Scans of which a length differs from the others' by a factor, or an intensity does."""
    if len(facts) < MIN_SCANS:
        return []
    known = measures([f.image for f in facts if f.image])
    found = []
    for what, (kind, floor) in FLOORS.items():
        group = [measure for measure in known if measure.what == what]
        scores = np.stack([robust_z(measure.scaled, floor) for measure in group], axis=1)
        for i, (one, score) in enumerate(zip(facts, scores, strict=True)):
            worst = int(np.abs(score).argmax())
            _, name, unit, values, _ = group[worst]
            if abs(score[worst]) > OUTLIER:
                called = f"the intensities' {name}" if what == "intensity" else f"{what} {name}"
                message = (
                    f"{called} is {values[i]:.4g}{unit}, of the others {np.median(values):.4g} "
                    f"(robust z {score[worst]:.1f})."
                )
                found.append(_finding(one, kind, message))
    return found


def _copies(facts: Sequence[CaseFacts], train: set[str], test: set[str]) -> list[Finding]:
    """Scans of equal voxels, an error across the split; and labels shared by several scans."""
    images: dict[str, list[CaseFacts]] = {}
    labels: dict[str, list[CaseFacts]] = {}
    for one in facts:
        if one.image:
            images.setdefault(one.image.digest, []).append(one)
        if one.label and set(one.label.counts) != {0}:
            labels.setdefault(one.label.digest, []).append(one)
    found = []
    for group in images.values():
        names = {one.case.name for one in group}
        severity: Severity = "error" if names & train and names & test else "warning"
        across = ", in the train and in the test list" if severity == "error" else ""
        message = f"the very same voxels as {{}}{across}. Keep one of them."
        found += _group(group, message, severity)
    for group in labels.values():
        if len({one.image.digest for one in group if one.image}) > 1:
            found += _group(group, "another scan, but the very same label as {}.", "warning")
    return found


def _group(group: list[CaseFacts], message: str, severity: Severity) -> list[Finding]:
    names = [one.case.name for one in group]
    return [
        _finding(one, "duplicate", message.format(few([n for n in names if n != name])), severity)
        for one, name in zip(group, names, strict=True)
        if len(group) > 1
    ]


def _rare_values(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Values that one label alone has: slips of the brush where no values are declared."""
    labeled = [one for one in facts if one.label]
    if len(labeled) < MIN_SCANS:
        return []
    owners: dict[int, list[CaseFacts]] = {}
    for one in labeled:
        for value in one.label.counts if one.label else ():
            owners.setdefault(value, []).append(one)
    return [
        _finding(
            group[0],
            "label values",
            f"{group[0].case.label}: value {value} ({group[0].label.counts[value]} voxels) occurs "
            f"in no other of the {len(labeled)} labels.",
        )
        for value, group in owners.items()
        if len(group) == 1 and group[0].label
    ]


def _sides(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Labels whose classes lie left where nearly all others' lie right, or in mirrored order."""
    offsets = [_offsets(one) for one in facts]
    suspects: dict[int, list[str]] = {}
    for name in sorted({name for own in offsets for name in own}):
        having = [i for i, own in enumerate(offsets) if name in own]
        for i in _opposed(np.array([offsets[i][name] for i in having])):
            suspects.setdefault(having[i], []).append(name)
    return [
        _finding(
            facts[i],
            "left-right",
            f"{facts[i].case.label}: {few(names, 3)}: on the other side than in at least "
            f"{AGREE:.0%} of the labels. Left and right may be exchanged.",
        )
        for i, names in sorted(suspects.items())
    ]


def _offsets(facts: CaseFacts) -> dict[str, float]:
    """How far right each value lies of the middle, and each of every other."""
    sides = facts.label.sides if facts.label else {}
    offsets = {f"value {value}": side for value, side in sides.items()}
    for a, b in combinations(sorted(sides), 2):
        offsets[f"value {a} beside value {b}"] = sides[a] - sides[b]
    return offsets


def _opposed(offsets: np.ndarray) -> list[int]:
    """Which of ``[N]`` offsets are outliers on the side where hardly any other lies.

    Where labels lie on either side by chance (crops around a midline organ) none is.
    """
    if len(offsets) < MIN_SCANS:
        return []
    usual = float(np.median(offsets))
    opposite = np.sign(offsets) == -np.sign(usual)
    if abs(usual) < CLEAR or opposite.sum() > max(1.0, (1 - AGREE) * len(offsets)):
        return []
    far = np.abs(robust_z(offsets, CLEAR / 2)) > OUTLIER
    return np.flatnonzero(opposite & far).tolist()
