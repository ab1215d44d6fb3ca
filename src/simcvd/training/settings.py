"""Settings of a run: frozen values, changed by ``--set name=value``, refused when unknown."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from simcvd.networks.base import Architecture
from simcvd.networks.build import architecture
from simcvd.networks.vnet import VNetConfig
from simcvd.ranges import BelowOne, Count, Natural, Positive, Range, Settings, Share, Weight
from simcvd.records import describe, typed
from simcvd.transforms.spatial import Augmentation
from simcvd.types import IntTriple, SimcvdError
from simcvd.wording import did_you_mean

NetworkConfig = VNetConfig  # the network that is meant where none is named
Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["step", "poly", "cosine", "constant"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """How a network is trained; the defaults are the paper's (Section IV-B).

    A field that is younger than a run on disk has the default that repeats what was done before.
    """

    group: ClassVar[str] = "train"
    iterations: Count = 6000
    """Steps of the run, those of its base not counted."""
    base: Natural = 0
    """Supervised steps before it, a run of their own whose weights this one starts from."""
    seed: Natural = 0
    """Of every random stream."""
    batch: Count = 4
    """Patches of a step in all, unless unlabeled_batch is given."""
    labeled_batch: Count = 2
    """Labelled patches of a step."""
    unlabeled_batch: Annotated[int | None, Range(least=0)] = None
    """Unlabelled patches of a step beside labeled_batch. None: the rest of batch, which a method
    without unlabelled scans fills with labelled patches."""
    patch: Annotated[IntTriple | None, Range(least=1)] = None
    """Voxels. None: 70 x 70 x 50 mm, as the benchmark has it, as far as the scans reach."""
    augmentation: Augmentation = "fixed"
    """Poses of a patch: the square's 8 ("fixed"), its 4 mirrored ones ("published"), "none"."""
    foreground: Share = 0.0
    """Chance that a labelled patch is centred on a voxel of a foreground class."""
    optimizer: Optimizer = "sgd"
    """Of the networks; a critic has Adam."""
    lr: Positive = 0.01
    """Learning rate after the warm-up."""
    schedule: Schedule = "step"
    """How the rate falls: a tenth every lr_every steps, (1 - t)^0.9, half a cosine, or never."""
    lr_every: Annotated[int | None, Range(least=1)] = None
    """Steps between divisions of the rate by 10. None: half the run."""
    floor: Share = 0.0
    """Share of the rate below which "poly" and "cosine" do not fall."""
    warmup: Natural = 0
    """Steps in which the rate rises evenly to its full height."""
    momentum: BelowOne = 0.9
    """Of SGD."""
    nesterov: bool = False
    """Nesterov's form of SGD's momentum."""
    weight_decay: Weight = 5e-4
    """Added to the gradient by SGD, taken from the weights by AdamW."""
    clip: Weight = 0.0
    """Largest norm of each player's gradient; 0 does not limit it."""
    average: BelowOne = 0.0
    """Decay of an average of the weights and running statistics that is tested, exported and
    predicted with; 0 takes the weights themselves."""
    holdout: Natural = 0
    """Labelled scans at the end of the training list kept out, to choose settings on."""
    fold: Natural = 0
    """Which holdout of them: 0 the last, 1 those before, and so on."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks; losses are computed in float32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unlabeled_batch is None and self.labeled_batch > self.batch:
            raise SimcvdError(
                f"train.labeled_batch is {self.labeled_batch} of train.batch {self.batch}; "
                "it cannot be the larger"
            )
        if self.fold and not self.holdout:
            raise SimcvdError(
                f"train.fold is {self.fold} and train.holdout 0; a fold needs scans to hold out"
            )
        if self.warmup >= self.iterations:
            raise SimcvdError(
                f"train.warmup is {self.warmup} of {self.iterations} iterations; it must end "
                "before the run does"
            )
        if self.average and 1 / (1 - self.average) > self.iterations:
            raise SimcvdError(
                f"train.average is {self.average}, a memory of {1 / (1 - self.average):.0f} steps, "
                f"and the run has {self.iterations}; lower it, or train longer"
            )
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            raise SimcvdError("train.nesterov is a form of SGD's momentum; it needs both")

    def patches(self, *, uses_unlabeled: bool) -> tuple[int, int]:
        """Labelled and unlabelled patches of a step."""
        if not uses_unlabeled:
            return (self.batch if self.unlabeled_batch is None else self.labeled_batch), 0
        if self.unlabeled_batch is None:
            return self.labeled_batch, self.batch - self.labeled_batch
        return self.labeled_batch, self.unlabeled_batch


def override(configs: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Apply ``group.field=value`` settings to the groups' dataclasses.

    Values are parsed against the field's type. A trailing underscore of a field, there because
    the name is a Python keyword, may be left out: ``method.lambda=0.3``. What a group refuses, it
    refuses with all its settings applied, whatever their order.
    """
    values: dict[str, dict[str, Any]] = {group: {} for group in configs}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise SimcvdError(f"--set {setting!r}: write it as name=value, e.g. method.tau=0.3")
        group, field = _resolve(name.strip(), configs)
        kind = get_type_hints(type(configs[group]))[field]
        values[group][field] = _parse(name, text.strip(), kind)
    return {
        group: dataclasses.replace(config, **values[group]) for group, config in configs.items()
    }


def choose_network(
    settings: Iterable[str], network: Architecture | None
) -> tuple[Architecture, list[str]]:
    """The network that settings are over, by ``network.name=...`` or as given, and the others."""
    names: list[str] = []
    rest: list[str] = []
    for setting in settings:
        name, _, value = setting.partition("=")
        named = name.strip() == "network.name"
        (names if named else rest).append(value.strip().strip("'\"") if named else setting)
    if names and (network is None or network.name != names[-1]):
        network = architecture(names[-1])()
    return network or NetworkConfig(), rest


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Leaves at which two JSON-like values differ, as "path: old -> new"."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def _resolve(name: str, configs: Mapping[str, Any]) -> tuple[str, str]:
    known = {
        f"{group}.{field.name.rstrip('_')}": (group, field.name)
        for group, config in configs.items()
        for field in dataclasses.fields(config)
    }
    key = name.rstrip("_")
    if key not in known:
        raise SimcvdError(f"--set: there is no {name!r}; {did_you_mean(key, sorted(known))}")
    return known[key]


def _parse(name: str, text: str, kind: Any) -> Any:
    try:
        value = text if "{" in text else ast.literal_eval(text)  # a set has no order
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # as Python's manual has it
        value = text
    try:
        return typed(kind, value)
    except SimcvdError:
        raise SimcvdError(f"--set {name}={text}: expected {describe(kind)}") from None
