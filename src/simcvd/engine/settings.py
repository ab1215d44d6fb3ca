"""Settings of a run: frozen values, changed by ``--set name=value``, refused when unknown."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

from simcvd.transforms.spatial import Augmentation
from simcvd.types import IntTriple, SimcvdError


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The V-Net's size; see :class:`simcvd.networks.vnet.VNet`."""

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    blocks: tuple[int, ...] = (1, 2, 3, 3, 3)
    strides: tuple[IntTriple, ...] = ((2, 2, 2),) * 4
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise SimcvdError(f"network.dropout is {self.dropout}; it must be from 0 to below 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The paper's schedule (Section IV-B), which every method shares.

    batch, labeled_batch: patches an iteration in all, and how many of them are labelled.
    patch: voxels; None takes 70 x 70 x 50 mm as the benchmark does, as far as the scans reach.
    lr_every: iterations between divisions of the learning rate by 10; None is half the run.
    holdout: labelled scans at the end of the training list that are kept out of training, to
        choose settings on.
    fold: which ``holdout`` of them: 0 the last ones, 1 those before, and so on, so that every fold
        of a cross-validation is a run of its own.
    """

    iterations: int = 6000
    seed: int = 0
    batch: int = 4
    labeled_batch: int = 2
    patch: IntTriple | None = None
    augmentation: Augmentation = "fixed"
    lr: float = 0.01
    lr_every: int | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    holdout: int = 0
    fold: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "labeled_batch", "lr", "lr_every", "patch"):
            value = getattr(self, name)
            if value is not None and min(value if isinstance(value, tuple) else (value,)) <= 0:
                raise SimcvdError(f"train.{name} is {value}; it must be positive")
        for name in ("seed", "weight_decay", "momentum"):
            if getattr(self, name) < 0:
                raise SimcvdError(f"train.{name} is {getattr(self, name)}; it cannot be negative")
        if self.labeled_batch > self.batch:
            raise SimcvdError(
                f"train.labeled_batch is {self.labeled_batch} of train.batch {self.batch}; "
                "it cannot be the larger"
            )
        if self.holdout < 0 or self.fold < 0 or (self.fold and not self.holdout):
            raise SimcvdError(
                f"train.fold is {self.fold} and train.holdout {self.holdout}; neither may be "
                "negative, and a fold needs scans to hold out"
            )


def override(configs: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Apply ``group.field=value`` settings to the groups' dataclasses.

    Values are parsed against the field's type. A trailing underscore of a field, there because
    the name is a Python keyword, may be left out: ``method.lambda=0.3``.
    """
    changed = dict(configs)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise SimcvdError(f"--set {setting!r}: write it as name=value, e.g. method.tau=0.3")
        group, field = _resolve(name.strip(), configs)
        kind = get_type_hints(type(changed[group]))[field]
        changed[group] = dataclasses.replace(
            changed[group], **{field: _parse(name, text.strip(), kind)}
        )
    return changed


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
