"""What methods and metrics are called, wherever a person reads of them."""

from __future__ import annotations

from simcvd.types import SimcvdError

# Title, and the convention in words; in metrics.json distances also carry their unit.
CONVENTIONS = {
    "dice": ("Dice", "2 |P and R| / (|P| + |R|), MedPy dc"),
    "jaccard": ("Jaccard", "|P and R| / |P or R|, MedPy jc"),
    "hd95_pooled": ("95HD, pooled", "95th percentile of both directions in one list, MedPy hd95"),
    "hd95_directed_max": ("95HD, max of directed", "larger of the two directions', MONAI"),
    "asd_prediction_to_reference": (
        "ASD, prediction to reference",
        "blind to what P leaves out, MedPy asd",
    ),
    "assd": ("symmetric ASD", "mean of both directions in one list, MedPy assd, MONAI"),
}
PERCENT = ("dice", "jaccard")  # fractions in files, % in tables


def method_title(method: str) -> str:
    """A method's title; of one that has none, or is not installed here, its name."""
    from simcvd.methods.registry import find

    try:
        return find(method).title or method
    except SimcvdError:
        return method


def metric_title(metric: str) -> str:
    """ "Dice [%]", "95HD, pooled [mm]" and their like, of a name in metrics.json."""
    title, unit, _ = _described(metric)
    return f"{title} [{unit}]"


def convention(metric: str) -> str:
    """How a metric is defined, in words."""
    return _described(metric)[2]


def scale(metric: str) -> int:
    """What a value of a file is multiplied by for a table: 100 for Dice and Jaccard."""
    return 100 if metric in PERCENT else 1


def _described(metric: str) -> tuple[str, str, str]:
    name, _, unit = (metric, "", "%") if metric in PERCENT else metric.rpartition("_")
    title, words = CONVENTIONS[name]
    return title, unit, words
