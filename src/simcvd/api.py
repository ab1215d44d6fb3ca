"""The steps of the job as functions, on arrays or paths: what ``import simcvd`` offers.

They do what the commands of the same names do. Arrays of scans are ``[X, Y, Z]`` or
``[C, X, Y, Z]``, label maps ``[X, Y, Z]``, affines ``[4, 4]``: voxel index -> millimetres, RAS+.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.active.suggest import suggest as next
from simcvd.checking.check import check
from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.data.reading import read_channels
from simcvd.files import write_text
from simcvd.formats import answers, write_image, write_label
from simcvd.inference.compute import Compute, pick_device
from simcvd.inference.model import Model, load_model
from simcvd.inference.scan import predict_scan
from simcvd.methods.base import Method
from simcvd.methods.registry import named
from simcvd.naming import inside
from simcvd.networks.base import Architecture
from simcvd.networks.build import Factory, factory_of
from simcvd.pipeline import run
from simcvd.planning import Plan, read_plan, write_plan
from simcvd.planning import make_plan as plan
from simcvd.ranges import plain
from simcvd.scoring.evaluate import evaluate, label_map
from simcvd.scoring.scores import summarise
from simcvd.share import export_run as export
from simcvd.training import loop
from simcvd.training.recipes import STRONG, find_recipe
from simcvd.training.score_run import score_run
from simcvd.types import SimcvdError, Volume

__all__ = [
    "Plan",
    "SimcvdError",
    "check",
    "evaluate",
    "export",
    "load_model",
    "next",
    "plan",
    "predict",
    "prepare",
    "read_plan",
    "run",
    "score_run",
    "summarise",
    "train",
    "write_plan",
    "write_scans",
]

# A scan: its array, its file (a folder for a DICOM series), or one file a channel.
Scan = np.ndarray | Path | str | Sequence[Path | str]


def write_scans(
    folder: Path | str,
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    *,
    affines: Mapping[str, np.ndarray] | np.ndarray,
    test: Sequence[str] = (),
) -> Path:
    """Scans in memory as a folder that `check` and `prepare` take; returns the folder.

    images: by name, ``[X, Y, Z]`` or ``[C, X, Y, Z]``. labels: by name, ``[X, Y, Z]`` integers; a
    scan without one is unlabelled. affines: one of each scan, or one of all. test: the names that
    are kept from training. Raises SimcvdError for shapes or names that do not fit together.
    """
    folder = Path(folder)
    for what, strangers in (("labels", {*labels} - {*images}), ("test", {*test} - {*images})):
        if strangers:
            raise SimcvdError(f"{what}: there is no image for {', '.join(sorted(strangers))}")
    for name, image in images.items():
        affine = affines[name] if isinstance(affines, Mapping) else affines
        _write_scan(folder, name, _volume(image, affine, name), labels.get(name))
    if test:
        _write_list(folder / "train.list", [name for name in images if name not in test])
        _write_list(folder / "test.list", test)
    return folder


def train(
    cache: Cache | Path | str,
    out: Path | str,
    *,
    labeled: int,
    method: str | type[Method] = "simcvd",
    plan: Plan | None = None,
    recipe: str | None = None,
    init: Path | str | Sequence[Path | str] = (),
    network: Architecture | Factory | str | None = None,
    settings: Mapping[str, Any] | None = None,
    tensorboard: bool = False,
) -> Path:
    """Train in the folder ``out``, or go on there from its last checkpoint; returns the folder.

    cache: what `prepare` returned, or its folder. labeled: how many training scans count as
    labelled. method: a name, a class derived from `simcvd.methods.base.Method`, or
    ``package.module:Class``. plan: patch, network and schedule of a plan that the cache was
    prepared by. recipe: "strong" or "paper"; by default the plan's, or "strong". init: a run or an
    exported model whose weights it starts from; several for a method that starts from several.
    settings: what ``--set`` takes, such as ``{"train.iterations": 400}``; over those of the plan.
    network: settings of a built-in network (docs/networks.md), or a `Factory` of any other: of
    ``(*, channels, classes, distance)``, to be given again to `load_model`. tensorboard: log for
    it, too, in ``out/tensorboard``; needs simcvd[tensorboard].
    Raises as `simcvd.training.loop.train`: SimcvdError for settings that do not fit, Interrupted
    on Ctrl-C, after a checkpoint.
    """
    root = cache.root if isinstance(cache, Cache) else Path(cache)
    method = named(method)
    chosen = list(plan.settings(method)) if plan else []
    chosen += [f"{name}={plain(value)!r}" for name, value in (settings or {}).items()]
    return loop.train(
        root,
        Path(out),
        method=method,
        labeled=labeled,
        settings=chosen,
        network=factory_of(network) if isinstance(network, str) else network,
        recipe=find_recipe(recipe or (plan.recipe if plan else STRONG.name)),
        init=[Path(path) for path in ([init] if isinstance(init, Path | str) else init)],
        board=tensorboard,
    )


def predict(
    model: Model | Path | str,
    scan: Scan,
    *,
    affine: np.ndarray | None = None,
    device: str = "auto",
    network: Factory | str | None = None,
    out: Path | str | None = None,
) -> np.ndarray:
    """The label values ``[X, Y, Z]`` of one scan, in its own grid and orientation.

    model: what `load_model` returned, which then stays on its device; or a finished run's folder,
    loaded onto ``device`` each time. affine: of a scan given as an array, and of no other.
    out: a NIfTI, NRRD or MHA file to write them to as well, in the scan's geometry.
    Raises SimcvdError for a scan that cannot be read or has not the model's channels.
    """
    if not isinstance(model, Model):
        model = load_model(model, device=pick_device(device), network=network)
    volume = _scan(scan, affine, model.spec.channels)
    compute = Compute(device=builtins.next(model.network.parameters()).device)
    labels = predict_scan(model, volume, compute)
    if out is not None:
        like = Path(scan) if isinstance(scan, Path | str) else None
        write_label(_segmentation(out), labels, volume.affine, like=like)
    return labels


def _scan(scan: Scan, affine: np.ndarray | None, channels: int) -> Volume:
    if isinstance(scan, np.ndarray):
        if affine is None:
            raise SimcvdError(
                "an array does not say where its voxels lie; give affine=..., "
                "such as np.diag([x, y, z, 1]) of its voxel size in mm"
            )
        return _volume(scan, affine, "the scan")
    if affine is not None:
        raise SimcvdError("affine is for arrays; files have their own, leave it out")
    paths = (scan,) if isinstance(scan, Path | str) else scan
    return read_channels(tuple(map(Path, paths)), channels)


def _volume(array: np.ndarray, affine: np.ndarray, name: str) -> Volume:
    """A scan as the readers return it: float32 ``[C, X, Y, Z]`` and its affine, both sound."""
    array = np.asarray(array, np.float32)
    affine = np.asarray(affine, np.float64)
    if array.ndim not in (3, 4) or not array.size:
        raise SimcvdError(f"{name}: has shape {array.shape}; give [X, Y, Z] or [C, X, Y, Z]")
    if not np.isfinite(array).all():
        raise SimcvdError(f"{name}: holds NaN or infinite voxels; replace them")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.linalg.det(affine):
        raise SimcvdError(f"{name}: its affine is not an invertible 4 x 4 matrix: {affine}")
    return Volume(array=array if array.ndim == 4 else array[None], affine=affine)


def _write_scan(folder: Path, name: str, image: Volume, label: np.ndarray | None) -> None:
    several = len(image.array) > 1
    for index, channel in enumerate(image.array):
        ending = f"_{index:04d}" if several else ""
        target = inside(folder / "images", name, f"{ending}.nii.gz")
        write_image(target, channel[None], image.affine)
    if label is None:
        return
    label = label_map(label, f"the label of {name}")
    if label.shape != image.array.shape[1:]:
        raise SimcvdError(
            f"{name}: its label has shape {label.shape}, its image {image.array.shape[1:]}; "
            "give both on one grid"
        )
    write_label(inside(folder / "labels", name, ".nii.gz"), label, image.affine)


def _segmentation(out: Path | str) -> Path:
    path = Path(out)
    writable = [e for kind in answers().values() if kind.suffixes for e in kind.endings]
    if not path.name.lower().endswith(tuple(writable)):
        raise SimcvdError(f"{path}: give a name that ends in one of {', '.join(writable)}")
    return path


def _write_list(path: Path, names: Sequence[str]) -> None:
    write_text(path, "".join(f"{name}\n" for name in names))
