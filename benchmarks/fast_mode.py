"""What other windows and `--fast` save in time and cost in Dice, on scans with a label.

    python benchmarks/fast_mode.py RUN [--split holdout|unlabeled] [--strides 18,18,4 56,56,40]
        [--cases N]

A row for each stride, for none (tapered windows half a patch apart) and for --fast; Dice is the
mean over scans and classes, and its difference, with the bootstrap interval of its mean over scans,
is taken from the first row. Seconds are wall clock, a scan, of prediction alone as
`simcvd evaluate` does it. "unlabeled" takes training scans whose labels the run did not read: how
windows stand is to be chosen on those, and measured on the test split.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from rows import machine
from segmenting import segmented

from simcvd.data.cache import Cache
from simcvd.inference.compute import Compute, pick_device
from simcvd.inference.model import load_model
from simcvd.machine import keep_freed_memory
from simcvd.scoring.scores import bootstrap_mean, resamples
from simcvd.training.run import read_config


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
    if device.type == "cpu":
        keep_freed_memory()
    ways: dict[str, dict[str, Any]] = {
        **{text: {"stride": tuple(map(int, text.split(",")))} for text in given.strides},
        "no stride": {},
        "--fast": {"fast": True},
    }
    print(machine(), f"\n{len(names)} scans of {given.split}, patch {model.spec.patch}\n")
    print("| stride | seconds a scan | Dice [%] | difference |\n|---|---|---|---|")
    first: tuple[float, ...] = ()
    for text, way in ways.items():
        how = Compute(device=device, **way).windows(model)
        found = segmented(model.folded, data, names, how)
        seconds, dice = zip(*found, strict=True)
        first = first or dice
        change = [a - b for a, b in zip(dice, first, strict=True)]
        gain = bootstrap_mean(np.array(change)[:, None], resamples(len(change)))
        text = f"| {text} | {mean(seconds):.2f} | {mean(dice):.2f} | "
        print(text + f"{gain.mean:+.2f} ({gain.low:+.2f} to {gain.high:+.2f}) |")


if __name__ == "__main__":
    main()
