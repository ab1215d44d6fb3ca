"""Pseudo-labels of whole scans by an ensemble of trained models, once, for `self_training`.

::

    OUT/<case>.npy     [X, Y, Z] int8 on the cache's grid: a class, or -1 where none is trusted
    OUT/<case>.json    by which models and settings, and what share of each class is trusted
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from simcvd.data.cache import Cache
from simcvd.files import read_object, replace_into, write_json
from simcvd.inference.average import Averaged, flip_axes, load_members
from simcvd.inference.compute import Compute
from simcvd.inference.model import ModelSpec, weights_digest
from simcvd.inference.sliding_window import Windows, finished_blocks
from simcvd.networks.build import Factory
from simcvd.ranges import Settings, Share
from simcvd.types import UNKNOWN, IntTriple, SimcvdError

FORMAT = 1
MOST_CLASSES = 128  # that int8 has room for


@dataclass(frozen=True, kw_only=True)
class Labelling(Settings):
    """How an ensemble labels scans; a voxel is labelled where all of this holds.

    threshold: the members' mean probability of its most probable class is at least this.
    agree: that class is every member's own most probable one. flip: letters of x, y and z, array
    axes along which each member's windows are mirrored too.
    """

    threshold: Share = 0.8
    agree: bool = True
    flip: str = ""


def label_unlabelled(
    models: Sequence[Path | str],
    cache: Cache,
    cases: Sequence[str],
    out: Path,
    *,
    how: Labelling | None = None,
    compute: Compute | None = None,
    network: Factory | None = None,
    say: Callable[[str], None] = print,
    quiet: bool = False,
) -> Path:
    """Label ``cases`` of ``cache`` into ``out`` by the models of some runs; returns ``out``.

    Every file is written whole or not at all, and a case that the same models have labelled in
    the same way is not labelled again, so that the same call resumes. Cases without trusted
    voxels, or with none of the foreground, are named through ``say``.

    Args:
        network: the factory the models were trained with, where that was the caller's own.
        quiet: show no progress bar.

    Raises:
        SimcvdError: models that differ from each other or from the cache; see `load_models`.
        CannotWrite: a full disk and the like.
    """
    how, compute = how or Labelling(), compute or Compute()
    axes = flip_axes(how.flip)
    members = load_members(models, device=compute.device, network=network)
    _check_data(models[0], members[0].spec, cache)
    networks = [
        Averaged([member.folded], axes).eval() if axes else member.folded for member in members
    ]
    windows = compute.windows(members[0])
    made_by = {
        "format": FORMAT,
        "models": [weights_digest(path) for path in models],
        **asdict(how),
        "stride": list(windows.stride),
    }
    complaints = defaultdict[str, list[str]](list)
    for name in track(cases, "labelling", disable=quiet, transient=True):
        made = {**made_by, "case": cache.case(name).info.hash}
        record = _record(out, name)
        if not made.items() <= record.items():
            (out / f"{name}.json").unlink(missing_ok=True)  # of labels that are about to go
            record = {**made, **_label_case(networks, cache, name, out, windows, how)}
            write_json(out / f"{name}.json", record)
        if found := _complaint(record):
            complaints[found].append(name)
    for found, named in complaints.items():
        say(
            f"warning: {found} in {len(named)} of {len(cases)} scans: {', '.join(named)}. Lower "
            "method.threshold or give better models, unless these scans are known to be empty"
        )
    return out


def pseudo_label(folder: Path, name: str) -> np.ndarray:
    """What `label_unlabelled` wrote of a case, ``[X, Y, Z]`` int8, memory-mapped.

    Raises SimcvdError if it is missing or broken.
    """
    path = folder / f"{name}.npy"
    try:
        array: np.ndarray = np.load(path, mmap_mode="c")
    except (OSError, ValueError) as error:
        raise SimcvdError(
            f"{path}: cannot be opened ({error}). Re-run the same command to label the scan again."
        ) from error
    return array


def trusted_labels(
    networks: Sequence[nn.Module], image: Tensor, windows: Windows, how: Labelling
) -> tuple[np.ndarray, np.ndarray]:
    """The ensemble's most probable class of every voxel, and whether it is trusted.

    image: ``[C, X, Y, Z]``. Returns ``[X, Y, Z]`` int8 and bool. The members' windows run side by
    side, so that the probabilities of the whole scan are never held.
    """
    shape: IntTriple = (image.shape[1], image.shape[2], image.shape[3])
    labels, trusted = np.empty(shape, np.int8), np.empty(shape, np.bool_)
    members = [finished_blocks(network, image, windows) for network in networks]
    for blocks in zip(*members, strict=True):
        place = blocks[0][0]
        shares = torch.stack([block for _, block in blocks])
        sure, label = shares.mean(0).max(0)
        believed = sure >= how.threshold
        if how.agree:
            believed &= (shares.argmax(1) == label).all(0)
        labels[place], trusted[place] = label.cpu().numpy(), believed.cpu().numpy()
    return labels, trusted


def _label_case(
    networks: Sequence[nn.Module],
    cache: Cache,
    name: str,
    out: Path,
    windows: Windows,
    how: Labelling,
) -> dict[str, Any]:
    """Write the labels of one case; what its record says of them."""
    image = torch.from_numpy(cache.case(name).image.astype(np.float32))
    labels, trusted = trusted_labels(networks, image, windows, how)
    with replace_into(out / f"{name}.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.where(trusted, labels, np.int8(UNKNOWN)))
    classes = range(windows.classes)
    return {
        "trusted": float(trusted.mean()),
        "predicted_by_class": [float((labels == k).mean()) for k in classes],
        "trusted_by_class": [float((trusted & (labels == k)).mean()) for k in classes],
    }


def _record(out: Path, name: str) -> dict[str, Any]:
    """The record of a case that is labelled, else an empty one."""
    try:
        record = read_object(out / f"{name}.json", "")
        np.load(out / f"{name}.npy", mmap_mode="r")
    except (OSError, ValueError, SimcvdError):
        return {}
    return record


def _complaint(record: dict[str, Any]) -> str:
    """What is wrong with the labels of a case, "" for nothing."""
    if not record["trusted"]:
        return "the models are sure of no voxel"
    if not any(record["trusted_by_class"][1:]):
        found = any(record["predicted_by_class"][1:])
        what = "are sure of none of the foreground they find" if found else "find no foreground"
        return f"the models {what}"
    return ""


def _check_data(path: Path | str, spec: ModelSpec, cache: Cache) -> None:
    """Classes, channels and preparation must be the models'."""
    manifest = cache.manifest
    pairs = {
        "channels": (spec.channels, len(manifest.channel_names)),
        "class names": (spec.class_names, manifest.class_names),
        "preprocessing": (spec.preprocessing, manifest.preprocessing),
    }
    for what, (trained, found) in pairs.items():
        if trained != found:
            raise SimcvdError(
                f"{path}: its {what} {trained} differs from that of {cache.root}, {found}; give "
                "models that were trained on this data set"
            )
    if spec.classes > MOST_CLASSES:
        raise SimcvdError(
            f"{path}: has {spec.classes} classes; pseudo-labels have room for {MOST_CLASSES}"
        )
