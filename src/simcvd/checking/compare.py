"""One scan held against the others: outliers, copies, and left for right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

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
FLOORS = {"outlier spacing": 0.02, "outlier size": 0.05, "outlier intensity": 0.05}
AXES = ("left-right", "front-back", "foot-head")
# A side is clear if so many of the others agree, and so far from the middle (share of the width).
AGREE, CLEAR = 0.9, 0.02


def compare(facts: Sequence[CaseFacts], train: Sequence[str], test: Sequence[str]) -> list[Finding]:
    """Everything about scans that only the other scans show to be unusual."""
    images = [f for f in facts if f.image]
    return [
        *_outliers(images, "outlier spacing", lambda image: image.spacing, "voxel size"),
        *_outliers(images, "outlier size", _extent, "extent"),
        *_intensities(images),
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


def _extent(image: ImageFacts) -> tuple[float, ...]:
    return tuple(n * s for n, s in zip(image.shape, image.spacing, strict=True))


def _outliers(
    facts: Sequence[CaseFacts],
    kind: Kind,
    measure: Callable[[ImageFacts], tuple[float, ...]],
    what: str,
) -> list[Finding]:
    """Scans whose three lengths (mm) along the RAS+ axes differ from the others' by a factor."""
    if len(facts) < MIN_SCANS:
        return []
    values = np.array([measure(f.image) for f in facts if f.image])
    scores = np.stack([robust_z(v, FLOORS[kind]) for v in np.log(values).T], axis=1)
    found = []
    for one, row, score in zip(facts, values, scores, strict=True):
        axis = int(np.abs(score).argmax())
        if abs(score[axis]) > OUTLIER:
            found.append(
                _finding(
                    one,
                    kind,
                    f"{what} {AXES[axis]} is {row[axis]:.4g} mm, of the others "
                    f"{np.median(values[:, axis]):.4g} (robust z {score[axis]:.1f}).",
                )
            )
    return found


def _intensities(facts: Sequence[CaseFacts]) -> list[Finding]:
    """Scans whose percentiles 1, 50 and 99 lie elsewhere than the others'."""
    if len(facts) < MIN_SCANS:
        return []
    every = np.array([f.image.percentiles for f in facts if f.image])  # [N, C, 3]
    ranges = np.maximum(np.median(every[..., 2] - every[..., 0], axis=0), 1e-12)
    floor = FLOORS["outlier intensity"]
    scaled = (every / ranges[:, None]).reshape(len(every), -1)
    scores = np.stack([robust_z(column, floor) for column in scaled.T], axis=1)
    found = []
    for one, row, score in zip(facts, every, scores, strict=True):
        worst = int(np.abs(score).argmax())
        channel, which = divmod(worst, 3)
        if abs(score[worst]) > OUTLIER:
            name = ("1st percentile", "median", "99th percentile")[which]
            place = f" of channel {channel}" if every.shape[1] > 1 else ""
            usual = np.median(every[:, channel, which])
            message = (
                f"the intensities' {name}{place} is {row[channel, which]:.4g}, of the others "
                f"{usual:.4g} (robust z {score[worst]:.1f})."
            )
            found.append(_finding(one, "outlier intensity", message))
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
