"""Whether the labelled scans are a fair sample of all: their headers and intensities compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simcvd.checking.compare import Measure, measures
from simcvd.checking.facts import CaseFacts

# All tests together find a difference where there is none this often (Bonferroni).
ALPHA = 0.05
# The least difference that matters, as Wasserstein distance: of logarithms for lengths (about
# 5 and 10 %), of intensities in shares of the usual range.
MATTERS = {"voxel size": 0.05, "extent": 0.10, "intensity": 0.10}
# With fewer on either side the test cannot find anything.
FEWEST = 4


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
    compared = measures([f.image for f in facts if f.image])
    warnings = []
    for measure in compared:
        ours, theirs = measure.scaled[labeled], measure.scaled[~labeled]
        p = float(stats.ks_2samp(ours, theirs).pvalue) * len(compared)
        if p < ALPHA and stats.wasserstein_distance(ours, theirs) > MATTERS[measure.what]:
            warnings.append(_sentence(measure, labeled, p))
    return tuple(warnings)


def _sentence(measure: Measure, labeled: np.ndarray, p: float) -> str:
    ours, theirs = measure.values[labeled], measure.values[~labeled]
    name = f"{measure.what}{',' if measure.what == 'intensity' else ''} {measure.name}"
    return (
        f"Labelled and unlabelled scans differ in {name}: the median of {len(ours)} "
        f"labelled is {np.median(ours):.4g}{measure.unit}, of {len(theirs)} unlabelled "
        f"{np.median(theirs):.4g}{measure.unit} (corrected p = {p:.1g})."
    )
