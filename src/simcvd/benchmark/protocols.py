"""What must be the same before two numbers may stand in one table.

A protocol is a value with a name and a hash. `simcvd.benchmark.check` holds a prepared data set
against it, so that a result never carries the name of a protocol that its data do not follow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from simcvd.preprocessing import Margin
from simcvd.records import Kind, as_json, younger
from simcvd.training.recipes import PAPER, find_recipe
from simcvd.transforms.spatial import Augmentation
from simcvd.types import IntTriple, SimcvdError, Triple
from simcvd.wording import did_you_mean

PROSE: dict[str, Any] = {"prose": True}  # marks a field that explains and decides nothing
# Of a field that makes another one's words checkable. The words are hashed already; the digest is
# left out of the record, so that results keep the hashes they were made under.
SAYS_THE_SAME: dict[str, Any] = {"says the same as": "split"}
NAMES_OTHER_SCANS = {"train_scans", "test_scans", "split"}
HASH_LENGTH = 12
PUBLISHED_METRICS = ("dice", "jaccard", "asd_prediction_to_reference_voxels", "hd95_pooled_voxels")
CLEAN_METRICS = ("dice", "jaccard", "assd_mm", "hd95_pooled_mm")
# Fields of a protocol that another recipe than the paper's sets itself, and those it has instead.
OF_PAPER = ("batch", "labeled_batch", "lr", "lr_every", "momentum", "weight_decay")
OF_RECIPES = ("recipe", "base", "mirror")
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
    recipe: where a run's settings begin. "paper" is spelt out by the fields here; of any other the
        batch, the optimiser, its rate and the augmentation are the recipe's own.
    base, mirror: supervised iterations before a run, and axes along which patches are mirrored,
        of a recipe that has them.
    holdout: labelled scans kept out of training; if any, they are scored in place of the test
        scans, to choose settings on.
    metrics: names of metrics.json in the order of the table.
    seeds, labeled: what the whole grid consists of; a part of it may be asked for.
    noise: what an earlier rule took two single trainings to differ by; part of every hash.
    paper: whose numbers stand beside ours; comparable: whether they were measured alike.
    """

    name: str
    about: str = field(metadata=PROSE)
    train_scans: int
    test_scans: int
    split: str
    lists: str | None = field(default=None, metadata=SAYS_THE_SAME)
    crop: Literal["ground truth", "none"]
    margin: Margin | None = younger(None)
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
    recipe: str = PAPER.name
    base: int = 0
    mirror: tuple[int, ...] = ()
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
        own = OF_RECIPES if self.recipe == PAPER.name else OF_PAPER
        left_out = {f.name for f in fields(self) if f.metadata in (PROSE, SAYS_THE_SAME)} | {*own}
        kept = {name: v for name, v in as_json(self).items() if name not in left_out}
        if self.recipe != PAPER.name:
            kept["recipe"] = as_json(find_recipe(self.recipe))
        return kept

    def hash(self) -> str:
        """The first 12 hexadecimal digits of the record's SHA-256."""
        return hash_of(self.record())

    def settings(self) -> tuple[str, ...]:
        """What `simcvd train --set` is given, but for the seed."""
        train: tuple[str, ...]
        mirror: tuple[str, ...] = ()
        if self.recipe == PAPER.name:  # in the order that results on disk have them in
            train = ("iterations", "batch", "labeled_batch", "patch", "augmentation", "lr")
            train = (*train, "lr_every", "momentum", "weight_decay", "holdout")
        else:
            train = ("iterations", "base", "patch", "augmentation", "holdout")
            mirror = (f"augment.mirror={self.mirror}",)
        network = ("widths", "blocks", "strides")
        return (
            *(f"train.{name}={getattr(self, name)}" for name in train),
            *mirror,
            *(f"network.{name}={getattr(self, name)}" for name in network),
            f"network.dropout={self.network_dropout}",
        )

    @property
    def split_scored(self) -> Literal["test", "holdout"]:
        """Which scans are scored."""
        return "holdout" if self.holdout else "test"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """``protocol.json``: what all results in a folder are made under.

    protocol, hash: as `Protocol` has them. findings: the leak audit's sentences.
    """

    protocol: dict[str, Any]
    hash: str
    data: str
    findings: tuple[str, ...] = younger(())


OPENED = Kind(name="a record of a benchmark", record=Opened, advice="Move it away.")


def hash_of(record: Mapping[str, Any]) -> str:
    """The hash of a record read back from a file: keys sorted, so that their order is free."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def changed(protocol: Protocol, **values: Any) -> Protocol:
    """Another protocol, which says by its name what was changed. Raises for an unknown field.

    Other numbers of scans, or another split, need other lists: their digest goes, if none is given.
    """
    known = {f.name for f in fields(protocol)} - {"name"}
    for name in values:
        if name not in known:
            raise SimcvdError(f"a protocol has no {name}; {did_you_mean(name, sorted(known))}")
    different = {name: v for name, v in values.items() if getattr(protocol, name) != v}
    if not different:
        return protocol
    suffix = ",".join(f"{name}={value}".replace(" ", "") for name, value in different.items())
    if NAMES_OTHER_SCANS & set(different):
        different.setdefault("lists", None)
    return replace(protocol, **different, name=f"{protocol.name}+{suffix}")
