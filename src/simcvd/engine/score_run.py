"""A run's network on the scans it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.progress import track

from simcvd.data.cache import Cache
from simcvd.engine.evaluate import Report, write_report
from simcvd.engine.run import read_config
from simcvd.engine.scores import Score, score_case
from simcvd.formats import write_label
from simcvd.inference.model import Model, load_model
from simcvd.inference.predict import Compute, pick_device, restore_values
from simcvd.inference.sliding_window import Windows, predict_labels
from simcvd.machine import keep_freed_memory
from simcvd.naming import inside
from simcvd.networks.build import Factory
from simcvd.types import IntTriple, SimcvdError

Split = Literal["test", "holdout"]


def score_run(
    run: Path,
    *,
    split: Split = "test",
    stride: IntTriple | None = None,
    fast: bool = False,
    cache: Path | None = None,
    out: Path | None = None,
    quiet: bool = False,
    network: Factory | None = None,
) -> Path:
    """Predict and score every labelled scan of ``split`` on the prepared grid.

    Args:
        run: the folder of a finished training.
        split: "test", which is to be scored once, or "holdout", the scans that
            ``train.holdout`` kept out of training, to choose settings on.
        stride, fast: how windows stand, by default half a patch apart and tapered; see `Compute`.
        cache: where the prepared scans lie now, if not where they lay in training.
        out: where to write; by default ``run`` itself, or ``run/holdout``.
        network: the factory it was trained with, where that was the caller's own.

    Writes ``predictions/<case>.nii.gz`` and ``metrics.{csv,json,md}``; returns their folder.
    Raises SimcvdError for an unfinished run, another cache, or a split without labels.
    """
    config = read_config(run)
    device = pick_device()
    how = Compute(device=device, stride=stride, fast=fast)
    model = load_model(run, device=device, network=network)
    windows = how.windows(model)
    if device.type == "cpu":
        keep_freed_memory()
    data = _open(cache or Path(config["cache"]), config["data"])
    names = data.test if split == "test" else tuple(config["run"]["holdout"])
    names = tuple(name for name in names if data.manifest.cases[name].has_label)
    if not names:
        raise SimcvdError(
            f"{run}: its {split} split has no labelled scan. For holdout, train with "
            "--set train.holdout=N; for test, give the data a test.list"
        )
    out = out or (run if split == "test" else run / split)
    shown = track(names, f"scoring {split}", disable=quiet, transient=True)
    scores = [score for name in shown for score in _score(model, windows, data, name, out)]
    info = {
        "split": split,
        "grid": "prepared",
        "spacing_mm": data.manifest.spacing,
        "stride": windows.stride,
        "tapered": windows.tapered,
        "config": config,
    }
    write_report(Report(scores=scores, info=info), out)
    return out


def _open(root: Path, data_hash: str) -> Cache:
    cache = Cache(root)
    if cache.manifest.data_hash != data_hash:
        raise SimcvdError(
            f"{root} holds other data than the run was trained on (hash "
            f"{cache.manifest.data_hash[:12]}, the run's is {data_hash[:12]}); "
            "prepare the run's data again, or train again"
        )
    return cache


def _score(model: Model, how: Windows, cache: Cache, name: str, out: Path) -> list[Score]:
    """Predict one prepared scan, write the label map, score it."""
    case, spec = cache.case(name), model.spec
    image = torch.from_numpy(case.image.astype(np.float32))
    labels = predict_labels(model.folded, image, how).numpy()
    affine = np.array(case.info["affine"])
    values = restore_values(labels, spec.label_values)
    write_label(inside(out / "predictions", f"{name}.nii.gz"), values, affine)
    x, y, z = case.info["spacing"]
    return score_case(labels, np.asarray(case.label), spec.class_names, (x, y, z), name)
