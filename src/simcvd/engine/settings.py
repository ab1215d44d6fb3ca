"""Settings of a run: frozen values, changed by ``--set name=value``, refused when unknown."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from simcvd.methods.ranges import BelowOne, Count, Natural, Positive, Range, Settings, Weight
from simcvd.networks.vnet import divisor_of
from simcvd.transforms.spatial import Augmentation
from simcvd.types import IntTriple, SimcvdError


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig(Settings):
    """The V-Net's size; see :class:`simcvd.networks.vnet.VNet`."""

    group: ClassVar[str] = "network"
    widths: Annotated[tuple[int, ...], Range(least=1)] = (16, 32, 64, 128, 256)
    blocks: Annotated[tuple[int, ...], Range(least=1)] = (1, 2, 3, 3, 3)
    strides: Annotated[tuple[IntTriple, ...], Range(least=1)] = ((2, 2, 2),) * 4
    dropout: BelowOne = 0.5

    @property
    def divisor(self) -> IntTriple:
        """What each side of a patch must be a multiple of, in voxels."""
        return divisor_of(self.strides)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """The paper's schedule (Section IV-B), which every method shares.

    batch, labeled_batch: patches an iteration in all, and how many of them are labelled.
    patch: voxels; None takes 70 x 70 x 50 mm as the benchmark does, as far as the scans reach.
    lr_every: iterations between divisions of the learning rate by 10; None is half the run.
    holdout: labelled scans at the end of the training list that are kept out of training, to
        choose settings on.
    fold: which ``holdout`` of them: 0 the last ones, 1 those before, and so on, so that every fold
        of a cross-validation is a run of its own.
    """

    group: ClassVar[str] = "train"
    iterations: Count = 6000
    seed: Natural = 0
    batch: Count = 4
    labeled_batch: Count = 2
    patch: Annotated[IntTriple | None, Range(least=1)] = None
    augmentation: Augmentation = "fixed"
    lr: Positive = 0.01
    lr_every: Annotated[int | None, Range(least=1)] = None
    momentum: BelowOne = 0.9
    weight_decay: Weight = 5e-4
    holdout: Natural = 0
    fold: Natural = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labeled_batch > self.batch:
            raise SimcvdError(
                f"train.labeled_batch is {self.labeled_batch} of train.batch {self.batch}; "
                "it cannot be the larger"
            )
        if self.fold and not self.holdout:
            raise SimcvdError(
                f"train.fold is {self.fold} and train.holdout 0; a fold needs scans to hold out"
            )


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
        near = get_close_matches(key, known, n=3, cutoff=0.5) or sorted(known)
        raise SimcvdError(f"--set: there is no {name!r}; did you mean {', '.join(near)}?")
    return known[key]


def _parse(name: str, text: str, kind: Any) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    value = float(value) if kind is float and type(value) is int else value
    value = tuples(value)
    if not fits(value, kind):
        raise SimcvdError(f"--set {name}={text}: expected {describe(kind)}")
    return value


def tuples(value: Any) -> Any:
    """Lists as tuples, at every depth."""
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated type, exactly: True is no int, and 1 is no float."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return value in arguments
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return isinstance(value, tuple) and all(fits(v, arguments[0]) for v in value)
    if origin is tuple:
        return (
            isinstance(value, tuple)
            and len(value) == len(arguments)
            and all(map(fits, value, arguments))
        )
    if arguments:  # a union
        return any(fits(value, argument) for argument in arguments)
    return type(value) is kind


def describe(kind: Any) -> str:
    """An annotated type in words."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
