"""Run with the package of commit f0fc42a: makes in a folder what that version left on disk.

::

    FOLDER/scans, FOLDER/cache
    FOLDER/whole/METHOD       a finished run of every method there was
    FOLDER/half/METHOD        the same, stopped by SIGTERM half-way
    FOLDER/model.zip          an exported run, and what it predicted in FOLDER/predicted
    FOLDER/results            a benchmark of two methods
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from simcvd.engine import loop
from tests.small import LABELED, NETWORK, TRAIN, make_cache

from simcvd.benchmark.protocols import changed, find_protocol
from simcvd.benchmark.units import make_units
from simcvd.benchmark.worker import work
from simcvd.cli import app
from simcvd.data.cache import Cache
from simcvd.experiments import select
from simcvd.methods.base import names

EXPORTED = "simcvd"


def make(folder: Path) -> None:
    """Everything in ``folder``."""
    cache = make_cache(folder)
    train_all(cache, folder)
    simcvd("evaluate", folder / "whole" / EXPORTED)
    simcvd("export", folder / "whole" / EXPORTED, "--out", folder / "model.zip")
    simcvd("predict", folder / "model.zip", folder / "scans/images", "--out", folder / "predicted")
    benchmark(cache, folder / "results")


def train_all(cache: Cache, folder: Path) -> None:
    """Each method twice, once to its end."""
    for method in names():
        train(cache, folder / "whole" / method, method)
        with Stopping(at=TRAIN.iterations // 2):
            train(cache, folder / "half" / method, method)


def train(cache: Cache, out: Path, method: str) -> None:
    """A training of the length and network that the tests of small scans have."""
    loop.train(cache.root, out, method=method, labeled=LABELED, train=TRAIN, network=NETWORK)


class Stopping:
    """Within it, a training gets SIGTERM after so many steps."""

    def __init__(self, at: int) -> None:
        self.at, self.step = at, loop.Trainer.train_step

    def __enter__(self) -> None:
        def step(trainer: loop.Trainer) -> dict[str, object]:
            row = self.step(trainer)
            if trainer.step == self.at:
                os.kill(os.getpid(), signal.SIGTERM)
            return row

        loop.Trainer.train_step = step

    def __exit__(self, kind: type | None, *_: object) -> bool:
        loop.Trainer.train_step = self.step
        assert kind is loop.Interrupted, f"not stopped: {kind}"
        return True


def benchmark(cache: Cache, results: Path) -> None:
    """Two rows under a protocol as small as the scans."""
    protocol = changed(
        find_protocol("hippocampus"),
        iterations=TRAIN.iterations,
        patch=TRAIN.patch,
        stride=(8, 8, 4),
        widths=NETWORK.widths,
        blocks=NETWORK.blocks,
        strides=NETWORK.strides,
        labeled=(LABELED,),
        seeds=(0,),
    )
    for unit in make_units(cache, protocol, select(["supervised", "simcvd"]), results):
        work(unit, cache.root)


def simcvd(*arguments: object) -> None:
    """A command of that version."""
    app(list(map(str, arguments)), standalone_mode=False)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
