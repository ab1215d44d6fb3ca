"""What must be the same before two numbers may stand in one table.

A protocol is a value with a name and a hash. `simcvd.benchmark.check` holds a prepared data set
against it, so that a result never carries the name of a protocol that its data do not follow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, Literal

from simcvd.engine.settings import differences
from simcvd.preprocessing import Margin
from simcvd.transforms.spatial import Augmentation
from simcvd.types import IntTriple, SimcvdError, Triple

PROSE: dict[str, Any] = {"prose": True}  # marks a field that explains and decides nothing
# Of a field that makes another one's words checkable. The words are hashed already; the digest is
# left out of the record, so that results keep the hashes they were made under.
SAYS_THE_SAME: dict[str, Any] = {"says the same as": "split"}
NAMES_OTHER_SCANS = {"train_scans", "test_scans", "split"}
HASH_LENGTH = 12
PUBLISHED_METRICS = ("dice", "jaccard", "asd_prediction_to_reference_voxels", "hd95_pooled_voxels")
CLEAN_METRICS = ("dice", "jaccard", "assd_mm", "hd95_pooled_mm")
PAPER_WIDTHS, PAPER_BLOCKS = (16, 32, 64, 128, 256), (1, 2, 3, 3, 3)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way of measuring.

    about, train_scans, test_scans: what data it is meant for, and how many scans these are.
    split: where the lists come from. lists: their digest, `hash_of` {"train": [...], "test": [...]}
        in order, for data to be held against; None where the lists are not at hand.
    crop: what the scans were cropped by.
    margin: as `simcvd prepare --crop label --margin` is given it; None without a crop of ours:
        the scans are whole, or come cropped by their maker.
    spacing: mm of the prepared grid. normalization, window: as `simcvd prepare` applies them.
    patch, stride: voxels; the stride is that of the windows at test.
    lr_every: iterations between divisions of the rate by 10; None is half the run.
    holdout: labelled scans kept out of training; if any, they are scored in place of the test
        scans, to choose settings on.
    metrics: names of metrics.json in the order of the table.
    seeds, labeled: what the whole grid consists of; a part of it may be asked for.
    noise: Dice points that two trainings which differ in their seed alone may lie apart.
    paper: whose numbers stand beside ours; comparable: whether they were measured alike.
    """

    name: str
    about: str = field(metadata=PROSE)
    train_scans: int
    test_scans: int
    split: str
    lists: str | None = field(default=None, metadata=SAYS_THE_SAME)
    crop: Literal["ground truth", "none"]
    margin: Margin | None = None
    spacing: Triple
    normalization: Literal["none", "zscore", "ct"]
    window: tuple[float, float] | None = None
    augmentation: Augmentation
    patch: IntTriple
    stride: IntTriple
    iterations: int = 6000
    batch: int = 4
    labeled_batch: int = 2
    lr: float = 0.01
    lr_every: int | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    widths: tuple[int, ...] = PAPER_WIDTHS
    blocks: tuple[int, ...] = PAPER_BLOCKS
    strides: tuple[IntTriple, ...] = ((2, 2, 2),) * 4
    network_dropout: float = 0.5
    holdout: int = 0
    checkpoint: Literal["last"] = "last"
    post_processing: Literal["none"] = "none"
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]
    labeled: tuple[int, ...]
    noise: float = 1.0
    paper: Literal["la", "pancreas"] | None = None
    comparable: bool = False

    def record(self) -> dict[str, Any]:
        """As JSON, without what explains or repeats: this is hashed and written beside results."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata}
        if self.margin is None:
            del kept["margin"]  # a later field: the hashes of protocols without it stay
        record: dict[str, Any] = json.loads(json.dumps(kept))
        return record

    def hash(self) -> str:
        """The first 12 hexadecimal digits of the record's SHA-256."""
        return hash_of(self.record())

    def settings(self) -> tuple[str, ...]:
        """What `simcvd train --set` is given, but for the seed."""
        train = ("iterations", "batch", "labeled_batch", "patch", "augmentation", "lr", "lr_every")
        more = ("momentum", "weight_decay", "holdout")
        network = ("widths", "blocks", "strides")
        return (
            *(f"train.{name}={getattr(self, name)}" for name in (*train, *more)),
            *(f"network.{name}={getattr(self, name)}" for name in network),
            f"network.dropout={self.network_dropout}",
        )

    @property
    def split_scored(self) -> Literal["test", "holdout"]:
        """Which scans are scored."""
        return "holdout" if self.holdout else "test"


def hash_of(record: Mapping[str, Any]) -> str:
    """The hash of a record read back from a file: keys sorted, so that their order is free."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def changed(protocol: Protocol, **values: Any) -> Protocol:
    """Another protocol, which says by its name what was changed. Raises for an unknown field.

    Other numbers of scans, or another split, need other lists: their digest goes, if none is given.
    """
    known = {f.name for f in fields(protocol)} - {"name"}
    if unknown := set(values) - known:
        near = [match for name in unknown for match in get_close_matches(name, known)]
        raise SimcvdError(
            f"a protocol has no {', '.join(sorted(unknown))}; did you mean "
            f"{', '.join(near or sorted(known))}?"
        )
    different = {name: v for name, v in values.items() if getattr(protocol, name) != v}
    if not different:
        return protocol
    suffix = ",".join(f"{name}={value}".replace(" ", "") for name, value in different.items())
    if NAMES_OTHER_SCANS & set(different):
        different.setdefault("lists", None)
    return replace(protocol, **different, name=f"{protocol.name}+{suffix}")


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; an unknown one is refused with the near misses."""
    if name not in PROTOCOLS:
        near = get_close_matches(name, PROTOCOLS) or list(PROTOCOLS)
        raise SimcvdError(f"there is no protocol {name!r}; did you mean {', '.join(near)}?")
    return PROTOCOLS[name]


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The fields in which two records differ, as "field: a -> b"."""
    return differences(dict(a), dict(b))


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
        replace(
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
        ),
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
        Protocol(
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
        ),
    )
}
