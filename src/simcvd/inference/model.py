"""A trained model on disk: weights as safetensors, everything else as JSON; never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from simcvd.files import parse_object, seal_holds, sealed, write_bytes, write_json
from simcvd.inference.archive import read_archive
from simcvd.inference.known import Known
from simcvd.naming import check_all
from simcvd.networks.build import Factory, build_network, check_sizes, factory_of
from simcvd.networks.fast.folding import folded
from simcvd.preprocessing import Preprocessing
from simcvd.ranges import plain
from simcvd.records import Kind, younger
from simcvd.torch_state import left_as_found
from simcvd.types import IntTriple, SimcvdError

MOST_VOXELS = 1 << 28  # of a window: 645 along each side
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
CARD = "MODEL_CARD.md"
SETTINGS = "config.json"
WORK_RECORD = "run.json"  # of a folder of `simcvd run`
# What a model's zip may hold, and how many bytes of it.
MEMBERS = {DESCRIPTION: 1 << 24, SETTINGS: 1 << 24, CARD: 1 << 24, WEIGHTS: 1 << 32}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What is needed besides the weights to predict with a network.

    network: arguments of `build_network`. class_names, label_values: for class 0..K-1 its name
    and its value in the user's label files. preprocessing: what the scans underwent. patch, stride:
    voxels of the sliding window. method: what it was trained with. trained_on: anything that
    tells the data apart, such as the cache's hash. known: what `simcvd run` found out besides.
    """

    network: dict[str, Any]
    class_names: dict[int, str]
    label_values: dict[int, int]
    preprocessing: Preprocessing
    patch: IntTriple
    stride: IntTriple
    method: str
    trained_on: dict[str, Any]
    known: Known | None = younger(None)

    def __post_init__(self) -> None:
        network = {name: plain(value) for name, value in self.network.items()}
        object.__setattr__(self, "network", network)
        if type(network.get("classes")) is not int:
            raise SimcvdError("model: its network has no number of classes")
        wanted = list(range(self.classes))
        for name in ("class_names", "label_values"):
            if sorted(getattr(self, name)) != wanted:
                raise SimcvdError(
                    f"model: {name} has the classes {sorted(getattr(self, name))}, but the network "
                    f"has {self.classes}; give every class from 0 to {self.classes - 1}"
                )
        if len({*self.label_values.values()}) < self.classes:
            raise SimcvdError(f"model: label_values {self.label_values} has one value twice")
        if self.known:
            self.known.refuse_others(self.classes, self.channels)
        check_all(self.class_names.values(), "model: a class")

    @property
    def channels(self) -> int:
        """C, image channels."""
        return int(self.network["channels"])

    @property
    def classes(self) -> int:
        """K, background included."""
        return int(self.network["classes"])

    @property
    def largest_only(self) -> list[int]:
        """Classes of which every piece but the largest is removed."""
        return self.known.largest_only if self.known else []


MODEL = Kind(
    name="a model that this version can build",
    record=ModelSpec,
    advice="Copy the model again, or use the version of simcvd it was made with.",
)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network ready to predict, in evaluation mode, and what belongs to it."""

    network: nn.Module
    spec: ModelSpec

    @cached_property
    def folded(self) -> nn.Module:
        """The network as it predicts fastest, of the weights it has when first asked."""
        return folded(self.network)


def save_model(folder: Path, network: nn.Module, spec: ModelSpec) -> None:
    """Write ``model.safetensors`` and then ``model.json``, each whole or not at all.

    ``model.json`` comes last and holds the hash of the weights and of itself: a folder without it,
    with one that belongs to other weights, or with one that was damaged, is never taken for a
    finished model.
    """
    from safetensors.torch import save

    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    weights = save(state)
    write_bytes(folder / WEIGHTS, weights)
    _describe(folder, hashlib.sha256(weights).hexdigest(), spec)


def add_known(folder: Path, known: Known) -> None:
    """Note in a finished model's description what was found out since; the weights stay.

    Raises SimcvdError as `load_model`.
    """
    spec = load_model(folder).spec
    if spec.known != known:
        _describe(folder, weights_digest(folder), dataclasses.replace(spec, known=known))


def _describe(folder: Path, digest: str, spec: ModelSpec) -> None:
    content = {**MODEL.content(spec), "weights_sha256": digest}
    write_json(folder / DESCRIPTION, sealed(content))


@left_as_found()
def load_model(
    path: Path | str, *, device: torch.device | str = "cpu", network: Factory | str | None = None
) -> Model:
    """The model in a run's folder (or any folder holding the two files), or in an exported zip.

    The network is in evaluation mode. network: the factory it was trained with, where that was
    the caller's own, or ``package.module:Name`` of it, which is then imported and run: a file
    names a factory and is never believed. Raises SimcvdError if that is missing, if no finished
    model is there, if its files are not what was written, and for a zip that holds anything else.
    """
    place = Path(path)
    network, files = factory_of(network), model_files(place)
    whole = _description(place / DESCRIPTION, files[DESCRIPTION])
    described = {name: value for name, value in whole.items() if name != "weights_sha256"}
    spec = MODEL.read(described, place / DESCRIPTION)
    try:
        _refuse_monsters(spec)
        weights = _weights(files[WEIGHTS], whole.get("weights_sha256"))
        if network is None:  # sizes only: a description that lies must not fill the memory
            check_sizes(spec.network)
            with torch.device("meta"):
                build_network(spec.network).load_state_dict(weights, assign=True)
        _check_seal(whole)
        trained = build_network(spec.network, network)
        trained.load_state_dict(weights)
    except SimcvdError as error:
        raise SimcvdError(f"{place}: {error}") from error
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise SimcvdError(
            f"{place / DESCRIPTION}: is not {MODEL.name} ({error}). {MODEL.advice}"
        ) from error
    return Model(network=trained.eval().requires_grad_(False).to(device), spec=spec)


def model_place(path: Path | str) -> Path:
    """Where the model of a path lies: in a folder of `simcvd run`, its final model."""
    place = Path(path)
    whole = (place / WORK_RECORD).is_file() and not (place / DESCRIPTION).is_file()
    return place / "model" if whole else place


def model_files(place: Path) -> dict[str, bytes]:
    """``model.json``, ``model.safetensors`` and, from a zip, what else is in it; unchecked."""
    place = model_place(place)
    if place.is_file():
        files = read_archive(place, MEMBERS)
        if missing := sorted({DESCRIPTION, WEIGHTS} - set(files)):
            raise SimcvdError(f"{place}: holds no {missing[0]}, so no model; export it again")
        return files
    if not (place / DESCRIPTION).is_file():
        raise SimcvdError(_nothing_finished(place))
    try:
        return {name: (place / name).read_bytes() for name in (DESCRIPTION, WEIGHTS)}
    except OSError as error:
        raise SimcvdError(f"{place}: cannot be read ({error}); copy the model again") from error


def weights_digest(path: Path | str) -> str:
    """SHA-256 of the weights in a run's folder or an exported zip; errors as in `load_model`."""
    return hashlib.sha256(model_files(Path(path))[WEIGHTS]).hexdigest()


def digest_of(path: Path | str) -> str:
    """A hash of all that a model is: its description holds that of its weights."""
    return hashlib.sha256(model_files(Path(path))[DESCRIPTION]).hexdigest()


def _description(path: Path, data: bytes) -> dict[str, Any]:
    try:
        return parse_object(data)
    except ValueError as error:
        raise SimcvdError(f"{path}: cannot be read ({error}); copy the model again") from error


def _check_seal(content: dict[str, Any]) -> None:
    if not seal_holds(content):
        raise SimcvdError(
            f"{DESCRIPTION} is not as it was written (damaged, or edited); copy it again from its "
            "origin"
        )


def _nothing_finished(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: there is no such folder; give the --out of a finished training"
    if (folder / "config.json").exists():
        return (
            f"{folder}: its training has not finished, so it has no model yet; "
            "re-run the same `simcvd train` command to resume it"
        )
    return f"{folder}: holds no model ({DESCRIPTION}); give the --out of a finished training"


def _weights(data: bytes, digest: str | None) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if hashlib.sha256(data).hexdigest() != digest:
        raise SimcvdError(
            f"{WEIGHTS} is not the file that {DESCRIPTION} describes (damaged, or from another "
            "model); copy both files again from their origin"
        )
    try:
        return load(data)
    except SafetensorError as error:
        raise SimcvdError(f"{WEIGHTS} cannot be read ({error}); copy the model again") from error


def _refuse_monsters(spec: ModelSpec) -> None:
    """What would fill the memory."""
    for name, sides in {"patch": spec.patch, "stride": spec.stride}.items():
        if not (min(sides) > 0 and math.prod(sides) <= MOST_VOXELS):
            raise SimcvdError(f"{name} is {list(sides)}, but three sizes in voxels are needed")
    for value in spec.label_values.values():
        if abs(value) >= 2**31:
            raise SimcvdError(f"{value} among the label_values is no whole number of 32 bits")
