"""How time and memory grow: with processes, trainings, voxels, windows, classes and cases.

    python benchmarks/scaling.py [--out FOLDER] [--quick]

All scans are made up. Writes FOLDER/scaling.json, scaling.md and scaling.png. Every point has a
process of its own, so that its peak memory is its own; a training is timed by its log, without its
start. --quick tests the script; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from math import log
from pathlib import Path
from textwrap import fill

import torch
from rows import machine
from torch import Tensor, nn
from turns import Job, in_turn

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.data.record import MANIFEST
from simcvd.data.sampler import Patches, TwoStreams, Views
from simcvd.demo.phantom import PhantomSettings, write_phantoms
from simcvd.files import replace_into, write_text
from simcvd.inference.sliding_window import Windows, grid_of, predict_labels
from simcvd.networks.vnet import VNet
from simcvd.training.log import read_log
from simcvd.types import IntTriple, Prediction

PATCH = 48
SMALL = PhantomSettings(shape=(48, 48, 32))
# One batch of 4, divided among the processes: together they see the same samples.
TRAINING = (
    "--method=simcvd",
    "--labeled=4",
    "--set=train.patch=(32,32,32)",
    "--set=network.widths=(8,16,32)",
    "--set=network.blocks=(1,2,2)",
    "--set=network.strides=((2,2,2),(2,2,2))",
    "--set=method.pool=32",
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement: x is what grows; peak is in bytes, the libraries included."""

    x: float
    seconds: float
    peak: int | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """Measurements of one growth. unit: of ``x``."""

    name: str
    unit: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is measured; the defaults are the whole. apart: see `in_turn`."""

    processes: tuple[int, ...] = (1, 2)
    jobs: tuple[int, ...] = (1, 2)
    steps: int = 60
    sides: tuple[int, ...] = (48, 96, 144, 192)
    strides: tuple[int, ...] = (48, 24, 12)
    classes: tuple[int, ...] = (2, 4, 8, 16, 32)
    prepared: tuple[int, ...] = (8, 16, 32, 64)
    opened: tuple[int, ...] = (100, 1000, 10000)
    apart: bool = True


QUICK = Size(
    processes=(1,),
    jobs=(1,),
    steps=20,
    sides=(16, 48),
    strides=(48, 36),
    classes=(2, 4),
    prepared=(2, 4),
    opened=(10, 20),
    apart=False,
)


class Bands(nn.Module):
    """Classes that cost nothing: each is the likeliest in its own range of intensities."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.arange(classes).reshape(1, -1, 1, 1, 1) / classes)

    def forward(self, x: Tensor) -> Prediction:
        """``[B, 1, X, Y, Z]`` in [0, 1] to logits."""
        return Prediction(logits=(x - self.centres).square_().mul_(-100), distance=None, features=x)


def windows_job(network: nn.Module, side: int, stride: int, classes: int) -> Job:
    """Predict a cube of noise."""
    image = torch.rand(1, side, side, side)
    patch: IntTriple = (PATCH, PATCH, PATCH)
    how = Windows(patch=patch, stride=(stride, stride, stride), classes=classes)
    return lambda: predict_labels(network, image, how).shape


def vnet_job(side: int, stride: int) -> Job:
    """`windows_job` of a small V-Net."""
    network = VNet(1, 2, widths=(8, 16, 32), blocks=(1, 2, 2), strides=((2, 2, 2),) * 2)
    return windows_job(network.eval(), side, stride, 2)


def classes_job(classes: int) -> Job:
    """`windows_job` of a network that costs nothing."""
    return windows_job(Bands(classes), 3 * PATCH, PATCH // 2, classes)


def prepare_job(scans: Path, out: Path) -> Job:
    """`simcvd prepare` of new scans; done again, it finds nothing to do."""
    return lambda: len(prepare(scans, out, quiet=True).train)


def open_job(root: Path) -> Job:
    """What a training does before its first step: open every scan, cut the first batch."""

    def run() -> int:
        cache = Cache(root)
        names = cache.train
        streams = TwoStreams(labeled=names[:4], unlabeled=names[4:], batch=(2, 2), seed=0)
        views = Views(patch=(32, 32, 32), poses="fixed")
        patches = Patches(cache, streams, views, torch.device("cpu"))
        return len(patches.batch(0).cases)

    return run


def many_cases(one: Path, root: Path, count: int) -> Path:
    """A cache of ``count`` scans, all of them hard links to the first of cache ``one``."""
    manifest = Cache(one).manifest
    first = manifest.train[0]
    names = tuple(f"scan_{index:05d}" for index in range(count))
    (root / "cases").mkdir(parents=True)
    for name in names:
        shutil.copytree(one / "cases" / first, root / "cases" / name, copy_function=os.link)
    cases = dict.fromkeys(names, manifest.cases[first])
    grown = replace(manifest, train=names, test=(), cases=cases)
    grown = replace(grown, data_hash=grown.content_hash())
    write_text(root / "manifest.json", json.dumps(MANIFEST.content(grown)))
    return root


def start(cache: Path, out: Path, steps: int, *, processes: int, threads: int) -> subprocess.Popen:
    """A training of 4 patches a step, divided among processes, each with its threads."""
    each = 4 // processes
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += ["--standalone", "-m", "simcvd.cli", "train", str(cache), "--out", str(out)]
    command += [*TRAINING, f"--iterations={steps}", f"--set=train.batch={each}"]
    command += [f"--set=train.labeled_batch={each // 2}", "--recipe=paper"]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )


def step_seconds(out: Path) -> float:
    """Of the second half of a training's log."""
    rows = read_log(out)
    middle, last = rows[len(rows) // 2 - 1], rows[-1]
    return (last["seconds"] - middle["seconds"]) / (last["step"] - middle["step"])


def processes_point(cache: Path, out: Path, processes: int, steps: int) -> Point:
    """One training, its batch divided among processes of one thread each."""
    if start(cache, out, steps, processes=processes, threads=1).wait():
        raise RuntimeError(f"the training with {processes} processes failed")
    return Point(x=processes, seconds=step_seconds(out))


def jobs_point(cache: Path, out: Path, jobs: int, steps: int) -> Point:
    """Whole trainings side by side that share the cores: seconds for a step of any of them."""
    threads = max((os.cpu_count() or 1) // jobs, 1)
    outs = [out / f"{job}" for job in range(jobs)]
    running = [start(cache, each, steps, processes=1, threads=threads) for each in outs]
    codes = [training.wait() for training in running]
    if any(codes):
        raise RuntimeError(f"one of {jobs} trainings side by side failed")
    return Point(x=jobs, seconds=sum(map(step_seconds, outs)) / jobs**2)


def measure(size: Size, folder: Path) -> list[Series]:
    """Everything, in ``folder``."""
    made = []

    def point(x: float, make: Callable[..., Job], *given: object, warmup: int = 1) -> Point:
        side = in_turn({"it": (make, given)}, rounds=1, warmup=warmup, apart=size.apart)["it"]
        return Point(x=x, seconds=side.wall[0], peak=side.peak)

    def add(name: str, unit: str, points: Sequence[Point]) -> None:
        made.append(Series(name=name, unit=unit, points=tuple(points)))
        for one in points:
            print(f"{name}: {one.x:g} {unit}, {one.seconds:.3g} s", flush=True)

    few = folder / "few"
    write_phantoms(few, 8, 0, test=0, settings=SMALL)
    cache = prepare(few, folder / "cache", quiet=True).root
    alone = [processes_point(cache, folder / f"ddp{n}", n, size.steps) for n in size.processes]
    add("a training step, the same 4 patches", "processes", alone)
    beside = [jobs_point(cache, folder / f"jobs{n}", n, size.steps) for n in size.jobs]
    add("a step of any of the trainings", "trainings side by side", beside)
    sizes = [point(side**3 / 1e6, vnet_job, side, PATCH) for side in size.sides]
    add("segment a scan, windows side by side", "million voxels", sizes)
    side = 3 * PATCH
    strides = []
    for stride in size.strides:
        how = Windows(patch=(PATCH,) * 3, stride=(stride,) * 3, classes=2)
        strides.append(point(grid_of((side,) * 3, how).count, vnet_job, side, stride))
    add(f"segment {side} cubed voxels", "windows", strides)
    counted = [point(k, classes_job, k) for k in size.classes]
    add(f"sum up windows over {side} cubed voxels, no network", "classes", counted)
    first, again = [], []
    for count in size.prepared:
        scans, out = folder / f"scans{count}", folder / f"cache{count}"
        write_phantoms(scans, count, 0, test=0, settings=SMALL)
        first.append(point(count, prepare_job, scans, out, warmup=0))
        again.append(point(count, prepare_job, scans, out, warmup=0))
    add("prepare scans of 48 x 48 x 32", "scans", first)
    add("prepare them again", "scans", again)
    opened = [
        point(count, open_job, many_cases(cache, folder / f"many{count}", count), warmup=0)
        for count in size.opened
    ]
    add("open a cache up to the first batch", "scans", opened)
    return made


def table(series: Sequence[Series]) -> list[str]:
    """Markdown. The exponent is that of a power law through neighbours: 1 is in proportion."""
    lines = ["| | | seconds | exponent | peak [GB] |", "|---|---|---|---|---|"]
    for one in series:
        exponents = [""] + [
            f"{log(b.seconds / a.seconds) / log(b.x / a.x):.2f}" for a, b in pairwise(one.points)
        ]
        for at, exponent in zip(one.points, exponents, strict=True):
            peak = "" if at.peak is None else f"{at.peak / 1e9:.2f}"
            lines.append(
                f"| {one.name} | {at.x:g} {one.unit} | {at.seconds:.3g} | {exponent} | {peak} |"
            )
    return lines


def draw(series: Sequence[Series], path: Path) -> None:
    """A panel a series, both axes logarithmic, beside growth in proportion."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    rows = -(-len(series) // 4)
    figure = Figure(figsize=(12, 3 * rows), layout="constrained")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for place, one in enumerate(series, start=1):
        axes = figure.add_subplot(rows, 4, place)
        xs, seconds = [p.x for p in one.points], [p.seconds for p in one.points]
        axes.loglog(xs, seconds, "o-", label="measured")
        in_proportion = [seconds[0] * x / xs[0] for x in xs]
        axes.loglog(xs, in_proportion, "--", color="0.6", label="in proportion")
        axes.set_title(fill(one.name, 30), fontsize=9)
        axes.set_xlabel(one.unit)
        axes.set_ylabel("seconds")
        axes.set_xticks(xs, [f"{x:,.0f}" if x >= 1000 else f"{x:.3g}" for x in xs])
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_formatter(plain)
        low, high = axes.get_ylim()
        axes.yaxis.set_minor_formatter(plain if high < 10 * low else NullFormatter())
        axes.tick_params(which="both", labelsize=8)
    figure.axes[0].legend(fontsize=8)
    with replace_into(path) as temporary:
        figure.savefig(temporary, dpi=110)


def write(series: Sequence[Series], out: Path) -> None:
    """scaling.json, scaling.md and scaling.png."""
    about = machine()
    content = {"machine": about, "series": [asdict(one) for one in series]}
    write_text(out / "scaling.json", json.dumps(content, indent=1) + "\n")
    head = ["# Growth", "", ", ".join(f"{k} {v}" for k, v in about.items()), ""]
    write_text(out / "scaling.md", "\n".join([*head, *table(series)]) + "\n")
    draw(series, out / "scaling.png")
    print(out / "scaling.md")


def main() -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scaling"))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        series = measure(QUICK if given.quick else Size(), Path(scratch))
    write(series, given.out)


if __name__ == "__main__":
    main()
