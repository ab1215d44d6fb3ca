"""How intensities are normalised, and whether empty borders are cut away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from simcvd.checking.facts import CaseFacts, ImageFacts
from simcvd.formats import format_of, read_header
from simcvd.formats.dicom_series import DICOM
from simcvd.layouts.records import Source
from simcvd.preprocessing import Normalization
from simcvd.wording import counted

# Nothing but CT has its 1st percentile below fat (HU) and its 99th above soft tissue.
CT_LOW, CT_HIGH = -100.0, 4000.0
# Percentiles of the labelled voxels that the CT window spans, nnU-Net's.
WINDOW = (0.5, 99.5)
# Cropping must take away this share of the voxels to be worth its trouble.
WORTH = 0.25
Window = tuple[float, float] | None


def normalization_of(
    source: Source, facts: Sequence[CaseFacts]
) -> tuple[Normalization, Window, str, str]:
    """Normalisation, window, and the reasons for both."""
    default = source.preprocessing
    if default.normalization == "none":
        return "none", None, "These files are normalised already.", ""
    evidence = _ct_evidence(source, facts)
    if evidence is None:
        return "zscore", None, "No CT: mean 0 and variance 1 for each scan and channel.", ""
    window, reason = _window(facts, default.window)
    return "ct", window, f"{evidence} Clipped to the window, then mean 0 and variance 1.", reason


def crop_of(images: Sequence[ImageFacts]) -> tuple[Literal["none", "nonzero"], str]:
    """Whether scans are cut to what is not background, and why."""
    shares = [
        1 - np.prod(image.content, dtype=float) / np.prod(image.shape, dtype=float)
        for image in images
    ]
    share = float(np.median(shares))
    verb = "would take" if share < WORTH else "takes"
    reason = (
        f"Cutting off the background at the borders {verb} {share:.0%} of the median scan's voxels."
    )
    return ("nonzero" if share >= WORTH else "none"), reason


def _ct_evidence(source: Source, facts: Sequence[CaseFacts]) -> str | None:
    """Why the scans are CT, or None if they are not."""
    if source.preprocessing.normalization == "ct":
        return "The data set says CT."
    modality = _dicom_modality(facts)
    if modality is not None:
        return "The DICOM files say CT." if modality == "CT" else None
    percentiles = np.array([f.image.percentiles for f in facts if f.image])  # [N, C, 3]
    low, _, high = np.median(percentiles, axis=0).T
    if (low <= CT_LOW).all() and (high > 0).all() and (high <= CT_HIGH).all():
        return f"Values look like Hounsfield units: 1st percentile {low.min():.0f}."
    return None


def _window(facts: Sequence[CaseFacts], default: Window) -> tuple[tuple[float, float], str]:
    samples = [f.foreground.ravel() for f in facts if f.foreground is not None]
    samples = [sample for sample in samples if len(sample)]
    if samples:
        low, high = np.percentile(np.concatenate(samples), WINDOW)
        scans = counted(len(samples), "scan")
        reason = f"{WINDOW[0]} to {WINDOW[1]} % of the labelled voxels of {scans}."
    elif default:
        return default, "Soft tissue: there are no labelled voxels to take it from."
    else:
        images = np.array([f.image.percentiles for f in facts if f.image])
        low, high = np.median(images[..., 0]), np.median(images[..., 2])
        reason = "1 to 99 % of all voxels: there are no labelled ones to take it from."
    low, high = float(np.floor(low)), float(np.ceil(high))
    return (low, max(high, low + 1)), reason


def _dicom_modality(facts: Sequence[CaseFacts]) -> str | None:
    """What the first DICOM series among the scans says it is, or None where there is none."""
    series = (f.case.images[0] for f in facts if format_of(f.case.images[0]) is DICOM)
    first = next(series, None)
    return read_header(first).modality or None if first else None
