"""What larger strides and `--fast` save in time and cost in Dice, on scans with a label.

    python benchmarks/fast_mode.py RUN [--split holdout|unlabeled] [--strides 18,18,4 56,56,40]
        [--cases N]

A row a stride, the last one --fast; Dice is the mean over scans and classes, and its difference,
with the bootstrap interval of its mean over scans, is taken from the first row. Seconds are wall
clock, a scan, of prediction alone as `simcvd evaluate` does it. "unlabeled" takes training scans
whose labels the run did not read: what `--fast` does is to be chosen on those, and measured on the
test split.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from rows import machine

from simcvd.data.cache import Cache
from simcvd.engine.run import read_config
from simcvd.engine.scores import bootstrap_mean, resamples, score_case
from simcvd.inference.model import Model, load_model
from simcvd.inference.predict import Compute, pick_device
from simcvd.inference.sliding_window import predict_labels
from simcvd.machine import keep_freed_memory


def measure(
    model: Model, data: Cache, names: list[str], compute: Compute
) -> tuple[float, list[float]]:
    """Seconds a scan, and each scan's mean Dice over classes in %."""
    seconds, dice = [], []
    for name in names:
        case = data.case(name)
        image = torch.from_numpy(case.image.astype(np.float32))
        start = time.perf_counter()
        labels = predict_labels(model.folded, image, compute.windows(model)).numpy()
        seconds.append(time.perf_counter() - start)
        x, y, z = case.info["spacing"]
        scores = score_case(labels, np.asarray(case.label), model.spec.class_names, (x, y, z))
        dice.append(100 * float(np.nanmean([score.values["dice"] for score in scores])))
    return mean(seconds), dice


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", choices=("test", "holdout", "unlabeled"), default="test")
    parser.add_argument("--strides", nargs="+", default=["18,18,4", "56,56,40"])
    parser.add_argument("--cases", type=int)
    given = parser.parse_args()
    config, device = read_config(given.run), pick_device()
    data, model = Cache(Path(config["cache"])), load_model(given.run, device=device)
    splits = {"test": data.test, **{name: config["run"][name] for name in ("holdout", "unlabeled")}}
    names = splits[given.split]
    names = [n for n in names if data.manifest.cases[n].has_label][: given.cases]
    compute = partial(Compute, device=device)
    if device.type == "cpu":
        keep_freed_memory()
    ways = [(text, tuple(map(int, text.split(",")))) for text in given.strides]
    print(machine(), f"\n{len(names)} scans of {given.split}, patch {model.spec.patch}\n")
    print("| stride | seconds a scan | Dice [%] | difference |\n|---|---|---|---|")
    first: list[float] = []
    for text, stride in [*ways, ("--fast", None)]:
        way = compute(stride=stride, fast=stride is None)
        seconds, dice = measure(model, data, names, way)
        first = first or dice
        change = [a - b for a, b in zip(dice, first, strict=True)]
        gain = bootstrap_mean(np.array(change)[:, None], resamples(len(change)))
        text = f"| {text} | {seconds:.2f} | {mean(dice):.2f} | "
        print(text + f"{gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f}) |")


if __name__ == "__main__":
    main()
