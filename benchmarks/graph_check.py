"""Are steps of a CUDA graph the plain steps, and what do they save? Needs a GPU.

    python benchmarks/graph_check.py CACHE [--steps 12] [--set NAME=VALUE ...]

For every method: losses of the first steps with and without (`simcvd.training.graph`), the largest
difference relative to the loss, and milliseconds a step of both. Kernels with atomic additions make
two runs differ, too; the last column says by how much two plain runs do. Exits with 1 where a graph
was refused, or where its losses differ ten times as much as that and by more than 1 %.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

from simcvd.data.cache import Cache
from simcvd.methods.registry import find, names
from simcvd.torch_state import set_switches
from simcvd.training.graph import GraphedSteps
from simcvd.training.loop import Trainer
from simcvd.training.recipes import STRONG
from simcvd.training.run import resolve

STEADY = ("train.base=0", "train.warmup=0", "train.average=0.99")


@dataclass(frozen=True)
class Steps:
    """Losses of some steps, milliseconds of the later half, and whether a graph did them."""

    losses: list[float]
    milliseconds: float
    recorded: bool


def steps_of(cache: Cache, method: str, settings: Sequence[str], count: int, graph: bool) -> Steps:
    """From the same seed each time."""
    os.environ["SIMCVD_GRAPH"] = "1" if graph else "0"
    run = resolve(cache, method=method, labeled=8, settings=[*STEADY, *settings], recipe=STRONG)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(Fabric(devices=1), run, cache, Path(scratch))
        losses = []
        for step in range(count):
            if step == count // 2:
                torch.cuda.synchronize()
                began = time.perf_counter()
            losses.append(trainer.train_step()["loss"].clone())  # type: ignore[union-attr]
        torch.cuda.synchronize()
    took = (time.perf_counter() - began) * 1000 / (count - count // 2)
    steps = getattr(trainer.take, "__self__", None)
    recorded = isinstance(steps, GraphedSteps) and bool(steps._graphs)
    return Steps([float(loss) for loss in losses], took, recorded)


def apart(one: Steps, other: Steps) -> float:
    """The largest difference of two losses of a step, relative to the larger."""
    pairs = zip(one.losses, other.losses, strict=True)
    return max(abs(a - b) / max(abs(a), abs(b), 1e-9) for a, b in pairs)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no GPU here")
        return 2
    set_switches()
    cache, bad = Cache(given.cache), 0
    print("| method | plain, ms | graph, ms | apart | two plain runs |\n|---|---|---|---|---|")
    for name in [name for name in names() if not find(name).pseudo_labels]:
        runs = [steps_of(cache, name, given.settings, given.steps, g) for g in (False, False, True)]
        noise, difference = apart(*runs[:2]), apart(runs[1], runs[2])
        wrong = not runs[2].recorded or difference > max(10 * noise, 0.01)
        bad += wrong
        took = f"{runs[1].milliseconds:.2f} | {runs[2].milliseconds:.2f}"
        print(f"| {name} | {took} | {difference:.1e} | {noise:.1e} |{' WRONG' * wrong}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
