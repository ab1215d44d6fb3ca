"""Whether the labelled scans are a fair sample of all: their headers and intensities compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from simcvd.checking.compare import AXES
from simcvd.checking.facts import CaseFacts, ImageFacts

# All tests together find a difference where there is none this often (Bonferroni).
ALPHA = 0.05
# The least difference that matters, as Wasserstein distance: of logarithms for lengths (about
# 5 and 10 %), of intensities in shares of the usual range.
SPACING_MATTERS, EXTENT_MATTERS, INTENSITY_MATTERS = 0.05, 0.10, 0.10
# With fewer on either side the test cannot find anything.
FEWEST = 4


class _Measure(NamedTuple):
    """One number a scan, ``[N]``, as it is shown, and as it is compared."""

    name: str
    unit: str
    values: np.ndarray
    scaled: np.ndarray
    matters: float


def compare_labeled(facts: Sequence[CaseFacts]) -> tuple[str, ...]:
    """A sentence for each way in which labelled and unlabelled scans differ.

    Each number is compared by a two-sample Kolmogorov-Smirnov test, which sees another spread
    or mixture as well as another middle; what differs must also differ enough to matter.
    """
    from scipy import stats

    facts = [f for f in facts if f.image]
    labeled = np.array([f.label is not None for f in facts])
    if min(labeled.sum(), (~labeled).sum()) < FEWEST:
        return ()
    measures = list(_measures([f.image for f in facts if f.image]))
    warnings = []
    for measure in measures:
        ours, theirs = measure.scaled[labeled], measure.scaled[~labeled]
        p = float(stats.ks_2samp(ours, theirs).pvalue) * len(measures)
        if p < ALPHA and stats.wasserstein_distance(ours, theirs) > measure.matters:
            warnings.append(_sentence(measure, labeled, p))
    return tuple(warnings)


def _measures(images: Sequence[ImageFacts]) -> Iterator[_Measure]:
    spacings = np.array([image.spacing for image in images])
    extents = spacings * np.array([image.shape for image in images])
    for axis, name in enumerate(AXES):
        size, extent = spacings[:, axis], extents[:, axis]
        yield _Measure(f"voxel size {name}", " mm", size, np.log(size), SPACING_MATTERS)
        yield _Measure(f"extent {name}", " mm", extent, np.log(extent), EXTENT_MATTERS)
    percentiles = np.array([image.percentiles for image in images])  # [N, C, 3]
    for channel, values in enumerate(percentiles.transpose(1, 2, 0)):
        place = f" of channel {channel}" if percentiles.shape[1] > 1 else ""
        usual = max(float(np.median(values[2] - values[0])), 1e-12)
        for name, row in zip(("1st percentile", "median", "99th percentile"), values, strict=True):
            yield _Measure(f"intensity, {name}{place}", "", row, row / usual, INTENSITY_MATTERS)


def _sentence(measure: _Measure, labeled: np.ndarray, p: float) -> str:
    ours, theirs = measure.values[labeled], measure.values[~labeled]
    return (
        f"Labelled and unlabelled scans differ in {measure.name}: the median of {len(ours)} "
        f"labelled is {np.median(ours):.4g}{measure.unit}, of {len(theirs)} unlabelled "
        f"{np.median(theirs):.4g}{measure.unit} (corrected p = {p:.1g})."
    )
