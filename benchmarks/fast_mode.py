"""What larger strides and `--fast` save in time and cost in Dice, on scans with a label.

    python benchmarks/fast_mode.py RUN [--split holdout] [--strides 18,18,4 56,56,40] [--cases N]

A row a stride, the last one --fast; Dice is the mean over scans and classes, and its difference is
taken from the first row. Seconds are CPU seconds a scan of prediction alone.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from rows import machine

from simcvd.data.cache import Cache
from simcvd.engine.run import read_config
from simcvd.engine.scores import score_case
from simcvd.inference.model import Model, load_model, with_stride
from simcvd.inference.predict import Compute, pick_device
from simcvd.inference.sliding_window import predict_labels
from simcvd.networks.autocast import autocast_dtype


def measure(model: Model, data: Cache, names: list[str], compute: Compute) -> tuple[float, float]:
    """Seconds a scan and mean Dice."""
    seconds, dice = [], []
    for name in names:
        case = data.case(name)
        image = torch.from_numpy(case.image.astype(np.float32))
        start = time.process_time() if compute.device.type == "cpu" else time.perf_counter()
        labels = predict_labels(model.network, image, compute.windows(model)).numpy()
        now = time.process_time() if compute.device.type == "cpu" else time.perf_counter()
        seconds.append(now - start)
        x, y, z = case.info["spacing"]
        scores = score_case(labels, np.asarray(case.label), model.spec.class_names, (x, y, z))
        dice += [score.values["dice"] for score in scores if not np.isnan(score.values["dice"])]
    return mean(seconds), mean(dice)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", choices=("test", "holdout"), default="test")
    parser.add_argument("--strides", nargs="+", default=["18,18,4", "56,56,40"])
    parser.add_argument("--cases", type=int)
    given = parser.parse_args()
    config, device = read_config(given.run), pick_device()
    data, model = Cache(Path(config["cache"])), load_model(given.run, device=device)
    names = data.test if given.split == "test" else config["run"]["holdout"]
    names = [n for n in names if data.manifest.cases[n].has_label][: given.cases]
    normal = Compute(device=device, autocast=autocast_dtype("auto", device))
    ways = [(text, tuple(map(int, text.split(",")))) for text in given.strides]
    print(machine(), f"\n{len(names)} scans of {given.split}, patch {model.spec.patch}\n")
    print("| stride | seconds a scan | Dice [%] | difference |\n|---|---|---|---|")
    first = None
    for text, stride in [*ways, ("--fast", None)]:
        way = with_stride(model, stride, fast=stride is None)
        seconds, dice = measure(way, data, names, normal)
        first = dice if first is None else first
        print(f"| {text} | {seconds:.2f} | {100 * dice:.2f} | {100 * (dice - first):+.2f} |")


if __name__ == "__main__":
    main()
