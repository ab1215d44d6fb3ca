"""The protocols there are, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simcvd.benchmark.protocols import CLEAN_METRICS, PUBLISHED_METRICS, Protocol
from simcvd.training.recipes import STRONG
from simcvd.types import SimcvdError
from simcvd.wording import did_you_mean

_LA = Protocol(
    name="la-published",
    about=(
        "the 2018 left-atrium scans as the field shares them: z-scored, cropped around the ground "
        "truth; simcvd prepare without --spacing and --normalization"
    ),
    train_scans=80,
    test_scans=20,
    split="lists of Yu et al. 2019; the first N of train.list are labelled",
    lists="cdf040ee5a97",
    crop="ground truth",
    spacing=(0.625, 0.625, 0.625),
    normalization="none",
    augmentation="published",
    patch=(112, 112, 80),
    stride=(18, 18, 4),
    metrics=PUBLISHED_METRICS,
    seeds=(0,),
    labeled=(8, 16),
    paper="la",
    comparable=True,
)
_LA_HALF = replace(
    _LA,
    name="la-half",
    about=(
        "the shared left-atrium scans at half resolution; simcvd prepare --spacing 1.25. "
        "Cropped around the ground truth, hence not clean"
    ),
    spacing=(1.25, 1.25, 1.25),
    augmentation="fixed",
    patch=(64, 64, 48),
    stride=(16, 16, 8),
    iterations=3000,
    metrics=CLEAN_METRICS,
    seeds=(0, 1, 2),
    labeled=(8,),
    comparable=False,
)
_PANCREAS = Protocol(
    name="pancreas-published",
    about=(
        "NIH Pancreas-CT, 82 scans, cropped to the ground truth's box and 25 voxels in X and Y, "
        "whole in Z; simcvd prepare --spacing 1 --normalization ct --window -125 275 "
        "--crop label --margin 25 25 all"
    ),
    train_scans=62,
    test_scans=20,
    split="lists of Luo et al. 2021 (82 scans); the first N of train.list are labelled",
    crop="ground truth",
    margin=(25, 25, None),
    spacing=(1.0, 1.0, 1.0),
    normalization="ct",
    window=(-125.0, 275.0),
    augmentation="published",
    patch=(96, 96, 96),
    stride=(16, 16, 16),
    metrics=PUBLISHED_METRICS,
    seeds=(0,),
    labeled=(12,),
    paper="pancreas",
    comparable=True,
)
_LA_QUARTER = replace(
    _LA_HALF,
    name="la-quarter",
    about=(
        "the shared left-atrium scans at a quarter of their resolution and a V-Net of half "
        "the widths and one stage fewer, for a small machine; simcvd prepare --spacing "
        "2.5. Cropped around the ground truth, hence not clean"
    ),
    spacing=(2.5, 2.5, 2.5),
    patch=(32, 32, 24),
    stride=(8, 8, 4),
    widths=(8, 16, 32, 64),
    blocks=(1, 2, 3, 3),
    strides=((2, 2, 2),) * 3,
)
_HIPPOCAMPUS = Protocol(
    name="hippocampus",
    about=(
        "Decathlon Task04 with splits.json; simcvd prepare without --spacing. The "
        "challenge cropped its scans around the hippocampus, hence not clean"
    ),
    train_scans=160,
    test_scans=60,
    split="splits.json; the first N are labelled",
    lists="a82cde130ec2",
    crop="ground truth",
    spacing=(1.0, 1.0, 1.0),
    normalization="zscore",
    augmentation="none",  # a turned scan has its anterior end elsewhere
    patch=(24, 32, 24),
    stride=(12, 16, 12),
    iterations=1000,
    widths=(8, 16, 32, 64),
    blocks=(1, 2, 3, 3),
    strides=((2, 2, 2),) * 3,
    lr=0.05,
    network_dropout=0.1,
    metrics=CLEAN_METRICS,
    seeds=(0, 1, 2),
    labeled=(10,),
)
_ACDC = Protocol(
    name="acdc-strong",
    about=(
        "180 volumes of 90 patients of the Automated Cardiac Diagnosis Challenge, as the field "
        "shares them; simcvd prepare without --spacing. Their voxel sizes were lost: 1.5 x 1.5 x "
        "10 mm stands for all, so distances are in voxels. Slices begin and end with the heart, as "
        "if cropped by the label along Z"
    ),
    train_scans=140,
    test_scans=40,
    split="shared lists of 70 and 20 patients, two volumes each; the first N volumes are labelled",
    lists="52c1d8baff3f",
    crop="ground truth",
    spacing=(1.5, 1.5, 10.0),
    normalization="zscore",
    augmentation="none",
    patch=(128, 128, 8),
    stride=(64, 64, 4),
    iterations=1500,
    widths=(8, 16, 32, 64),
    blocks=(1, 2, 3, 3),
    strides=((2, 2, 1), (2, 2, 1), (2, 2, 2)),
    network_dropout=0.1,
    recipe=STRONG.name,
    base=1500,
    mirror=(1, 2),  # ventricles lie side by side along X
    metrics=PUBLISHED_METRICS,
    seeds=(0, 1, 2),
    labeled=(6, 14),
)
_SEEDS = (0, 1, 2, 3, 4)


def _strong(protocol: Protocol, base: int, iterations: int, **more: Any) -> Protocol:
    """The same data, network and scans under the strong recipe, by another name."""
    values = {"recipe": STRONG.name, "base": base, "iterations": iterations, "seeds": _SEEDS}
    return replace(protocol, name=f"{protocol.name}-strong", **{**values, **more})


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _LA,
        replace(
            _LA,
            name="la-clean",
            about=(
                "the 2018 challenge's own scans, whole, split by the same lists; simcvd prepare "
                "--spacing 0.625 --normalization zscore"
            ),
            crop="none",
            normalization="zscore",
            augmentation="fixed",
            stride=(56, 56, 40),
            metrics=CLEAN_METRICS,
            seeds=(0, 1, 2),
            comparable=False,
        ),
        _LA_HALF,
        _LA_QUARTER,
        _PANCREAS,
        replace(
            _PANCREAS,
            name="pancreas-clean",
            about=(
                "NIH Pancreas-CT, whole scans, without cases 25 and 70, which repeat patients and "
                "were withdrawn; simcvd prepare --spacing 1 --normalization ct --window -125 275"
            ),
            train_scans=60,
            split="by number without cases 25 and 70: the first 60 train, the last 20 test",
            crop="none",
            margin=None,
            augmentation="fixed",
            stride=(48, 48, 48),
            metrics=CLEAN_METRICS,
            seeds=(0, 1, 2),
            comparable=False,
        ),
        _HIPPOCAMPUS,
        _ACDC,
        _strong(_LA_QUARTER, 1500, 1500),
        _strong(_LA_HALF, 1500, 1500),
        _strong(_HIPPOCAMPUS, 1000, 1000, mirror=(0, 2), labeled=(2, 5, 10)),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; an unknown one is refused with the near misses."""
    if name not in PROTOCOLS:
        raise SimcvdError(f"there is no protocol {name!r}; {did_you_mean(name, PROTOCOLS)}")
    return PROTOCOLS[name]
