"""The ranges of :mod:`simcvd.ranges`, under the name by which methods import them."""

from simcvd.ranges import (
    BelowOne,
    Count,
    Natural,
    Positive,
    Range,
    Settings,
    Several,
    Share,
    Weight,
)

__all__ = [
    "BelowOne",
    "Count",
    "Natural",
    "Positive",
    "Range",
    "Settings",
    "Several",
    "Share",
    "Weight",
]
