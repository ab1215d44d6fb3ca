"""The whole job on made-up scans: phantoms, preparation, two trainings, scores, one page."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from simcvd.data.phantom import write_phantoms
from simcvd.data.prepare import prepare
from simcvd.engine.loop import train
from simcvd.engine.score_run import score_run
from simcvd.engine.settings import NetworkConfig, TrainConfig
from simcvd.report.html import write_page
from simcvd.report.results import load_result
from simcvd.scoring.titles import method_title

METHODS = ("supervised", "simcvd")
# Slices of 32 x 32 voxels hold no more at the paper's 128 x 128, which takes half as long again.
SETTINGS = {"simcvd": ("method.pool=32",)}


@dataclass(frozen=True, kw_only=True)
class DemoSize:
    """How much a demo does: scans in all, for testing and labelled, and what is trained."""

    cases: int
    test: int
    labeled: int
    iterations: int
    network: NetworkConfig


# About three minutes on two cores, and under half a minute.
FULL = DemoSize(
    cases=28,
    test=8,
    labeled=4,
    iterations=400,
    network=NetworkConfig(widths=(8, 16, 32, 64), blocks=(1, 2, 2, 2), strides=((2, 2, 2),) * 3),
)
QUICK = DemoSize(
    cases=9,
    test=3,
    labeled=3,
    iterations=30,
    network=NetworkConfig(widths=(4, 8, 16), blocks=(1, 1, 1), strides=((2, 2, 2),) * 2),
)


def run_demo(out: Path, *, quick: bool = False, seed: int = 0) -> Path:
    """Everything into ``out``; returns the page. Typed again, finished parts are not repeated."""
    size = QUICK if quick else FULL
    console, started = Console(), time.monotonic()
    scans = out / "scans"
    if not (scans / "test.list").exists():
        console.print(
            f"making {size.cases} phantom scans, {size.labeled} of them labelled for training"
        )
        write_phantoms(scans, size.cases, seed, test=size.test, labeled=size.labeled)
    cache = prepare(scans, out / "cache")
    schedule = TrainConfig(iterations=size.iterations, patch=(32, 32, 32), seed=seed)
    for method in METHODS:
        console.print(f"[bold]{method_title(method)}[/bold]")
        run = out / method
        train(
            cache.root,
            run,
            method=method,
            labeled=size.labeled,
            train=schedule,
            network=size.network,
            settings=SETTINGS.get(method, ()),
        )
        score_run(run)
    results = [load_result(out / method, method_title(method)) for method in METHODS]
    notes = [
        f"{size.cases - size.test} phantom scans for training, {size.labeled} of them labelled, "
        f"{size.test} for testing; {size.iterations} iterations, seed {seed}.",
        "Both trainings have the same network, schedule, patches and labelled scans; the other "
        "settings are the methods' own, but SimCVD's head sees slices of 32 x 32 pixels.",
        "Made-up scans and a short training of a small network: this shows how the parts work "
        "together, not how good a method is.",
    ]
    page = write_page(out, cache, results, title="simcvd demo", notes=notes)
    console.print(
        f"done in {time.monotonic() - started:.0f} s; open [bold]{page}[/bold]", soft_wrap=True
    )
    return page
