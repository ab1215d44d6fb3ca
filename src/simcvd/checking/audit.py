"""Leaks that make a benchmark's numbers too good, found in a prepared data set.

* the same image under two names, by its voxels (a scan that only its header or compression
  tells from another is the same; a resampled or rescaled copy is not found);
* a test scan in the training list, under its own name or as such a copy: to be refused;
* one patient in both splits, by a pattern over the names;
* scans cropped by their own ground truth.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from simcvd.checking.findings import Finding, Kind, Severity
from simcvd.data.cache import Cache
from simcvd.distance import bounding_box
from simcvd.layouts.patients import by_names, shared_patients
from simcvd.types import SimcvdError
from simcvd.wording import few

TEST_IN_TRAINING: Kind = "test scan in training"
TWICE: Kind = "same image twice"
PATIENT: Kind = "patient in both"
CROPPED: Kind = "cropped by label"

FEWEST = 8  # labelled scans from which the crop can be judged
FOLLOWS, CHANCE = 0.8, 1e-3  # correlation of scan size with label size, and its p
CENTRED, SHARE, FILLS = 1, 0.9, 0.4  # voxels off the middle; of scans; of the scan's length


def leak(kind: Kind, message: str, cases: Sequence[str] = ()) -> Finding:
    """A finding on several scans. No number means anything with a test scan in training."""
    severity: Severity = "error" if kind in (TEST_IN_TRAINING, PATIENT) else "warning"
    return Finding(severity=severity, kind=kind, message=message, cases=tuple(cases))


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Where the box of all foreground classes lies along one axis; a value for each scan.

    before, after: voxels between the box and the two ends of the scan. length: of the scan.
    """

    before: np.ndarray
    after: np.ndarray
    length: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """Length of the label's box in voxels."""
        return np.asarray(self.length - self.before - self.after)


Ends = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]
"""Along X, Y and Z: voxels before and after the label's box, and the scan's length."""


def audit(cache: Cache, patient: str | None = None) -> list[Finding]:
    """Every finding in a prepared data set, test scans in training first.

    patient: a regular expression over case names; its first group, or all it matches, is the
    patient. Without it the patients are those that `prepare` knew. Opens all images and labels.
    Raises SimcvdError for a pattern that is none, or that matches no name.
    """
    findings = [
        *_shared_names(cache),
        *_same_images(cache),
        *_patients(cache, patient),
        *_cropped(cache),
    ]
    return sorted(findings, key=lambda finding: finding.kind != TEST_IN_TRAINING)


def refuse_fatal(findings: Iterable[Finding]) -> None:
    """Raise SimcvdError if a test scan is among the training scans."""
    fatal = [finding.message for finding in findings if finding.kind == TEST_IN_TRAINING]
    if fatal:
        raise SimcvdError(
            "test scans are among the training scans, so that no score would mean anything:\n  "
            + "\n  ".join(fatal)
            + "\nTake them out of one of the two lists and prepare again"
        )


def margins(cache: Cache) -> list[Margins]:
    """Along X, Y and Z, over the scans whose label is not empty."""
    cases = map(cache.case, dict.fromkeys((*cache.train, *cache.test)))
    return margins_of(ends(np.asarray(case.label)) for case in cases if case.has_label)


def ends(label: np.ndarray) -> Ends | None:
    """Of a label map ``[X, Y, Z]``; None where it is empty."""
    if not label.any():
        return None
    sides = zip(bounding_box(label != 0), label.shape, strict=True)
    x, y, z = ((side.start, length - side.stop, length) for side, length in sides)
    return x, y, z


def margins_of(labels: Iterable[Ends | None]) -> list[Margins]:
    """Along X, Y and Z, over the labels that are not empty."""
    table = np.array([each for each in labels if each], dtype=np.int64).reshape(-1, 3, 3)
    return [Margins(before=t[:, 0], after=t[:, 1], length=t[:, 2]) for t in table.swapaxes(0, 1)]


def digest(array: np.ndarray) -> str:
    """A hash of voxels and their shape, by which copies are known."""
    array = np.ascontiguousarray(array)
    found = hashlib.blake2b(repr((array.shape, array.dtype.str)).encode(), digest_size=16)
    found.update(array.data.cast("B"))
    return found.hexdigest()


def cropped_by_label(m: Margins) -> str:
    """Why the scans look cropped by their label along this axis; empty if they do not.

    On a whole scan the label's place and size say nothing of where the scan ends. If the scan
    was cut around its label, either the scan's length follows the label's, or, cut to one
    length, the label sits in the middle of every scan.
    """
    if len(m.length) < FEWEST:
        return ""
    off = np.abs(m.before - m.after) / 2
    if (off <= CENTRED).mean() >= SHARE and np.median(m.box / m.length) >= FILLS:
        return f"the label is centred to {CENTRED} voxel in {(off <= CENTRED).mean():.0%} of scans"
    if np.ptp(m.length) == 0 or np.ptp(m.box) == 0:
        return ""
    correlation = stats.pearsonr(m.length, m.box)
    if correlation.statistic < FOLLOWS or correlation.pvalue > CHANCE:
        return ""
    return f"the scan's length follows the label's (correlation {correlation.statistic:.2f})"


def _shared_names(cache: Cache) -> list[Finding]:
    both = tuple(name for name in cache.test if name in set(cache.train))
    if not both:
        return []
    text = f"{len(both)} names stand in both lists: {few(list(both))}"
    return [leak(TEST_IN_TRAINING, text, both)]


def _same_images(cache: Cache) -> list[Finding]:
    by_content = defaultdict(list)
    for name in dict.fromkeys((*cache.train, *cache.test)):
        by_content[digest(cache.case(name).image)].append(name)
    train, test = set(cache.train), set(cache.test)
    findings = []
    for names in by_content.values():
        if len(names) > 1:
            across = bool(train & set(names)) and bool(test & set(names))
            kind = TEST_IN_TRAINING if across else TWICE
            text = f"{', '.join(names)} hold the same voxels"
            findings.append(leak(kind, text, names))
    return findings


def _patients(cache: Cache, pattern: str | None) -> list[Finding]:
    names = list(dict.fromkeys((*cache.train, *cache.test)))
    known = {name: cache.case(name).info.patient for name in names}
    who = {n: patient for n, patient in known.items() if patient} | by_names(names, pattern)
    shared = shared_patients(cache.train, cache.test, who)
    return [leak(PATIENT, text, cases) for cases, text in shared.items()]


def _cropped(cache: Cache) -> list[Finding]:
    if cache.manifest.preprocessing.crop == "label":
        text = "the scans were prepared with --crop label, cropped by their own ground truth"
        return [leak(CROPPED, text)]
    return looks_cropped(margins(cache))


def looks_cropped(found: Sequence[Margins]) -> list[Finding]:
    """One finding if the scans look cropped by their label along any axis X, Y, Z."""
    reasons = [(axis, m, cropped_by_label(m)) for axis, m in zip("XYZ", found, strict=True)]
    text = "; ".join(
        f"along {axis} {reason}, margins {np.median(m.before):.0f} and {np.median(m.after):.0f} "
        f"voxels ({min(m.before.min(), m.after.min())} to {max(m.before.max(), m.after.max())})"
        for axis, m, reason in reasons
        if reason
    )
    if not text:
        return []
    return [leak(CROPPED, f"the scans look cropped by their own ground truth: {text}")]
