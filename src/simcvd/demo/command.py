"""The whole job on made-up scans: phantoms, preparation, trainings, scores, one page.

A supervised base is trained on the few labelled phantoms; from its weights a supervised control and
CutMix, which learns from the unlabelled ones too, go on for about the same time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.demo.phantom import PhantomSettings, write_phantoms
from simcvd.report.html import Words, write_page
from simcvd.report.results import load_result
from simcvd.scoring.titles import method_title
from simcvd.training.loop import BASE, train
from simcvd.training.recipes import STRONG
from simcvd.training.run import CONTROL
from simcvd.training.score_run import score_run
from simcvd.training.settings import NetworkConfig
from simcvd.types import IntTriple

METHOD = "cutmix"
MIRROR = "augment.mirror=(1, 2)"  # the chamber has a bright neighbour on either side


@dataclass(frozen=True, kw_only=True)
class DemoSize:
    """How much a demo does: scans in all, for testing and labelled, and what is trained.

    base: supervised steps; control, method: those that each goes on for. patch: voxels.
    """

    cases: int
    test: int
    labeled: int
    base: int
    control: int
    method: int
    network: NetworkConfig
    patch: IntTriple = (32, 32, 32)
    phantoms: PhantomSettings = field(default_factory=PhantomSettings)


# The second took 57 s on one core of an AMD EPYC (AVX2); benchmarks/demo_gain.py times the first.
FULL = DemoSize(
    cases=34,
    test=10,
    labeled=4,
    base=400,
    control=480,
    method=300,
    network=NetworkConfig(
        widths=(8, 16, 32, 64), blocks=(1, 2, 2, 2), strides=((2, 2, 2),) * 3, dropout=0.1
    ),
)
QUICK = DemoSize(
    cases=9,
    test=3,
    labeled=3,
    base=110,
    control=110,
    method=110,
    network=NetworkConfig(widths=(4, 8, 16), blocks=(1, 1, 1), strides=((2, 2, 2),) * 2),
)


def run_demo(
    out: Path, *, quick: bool = False, seed: int = 0, size: DemoSize | None = None
) -> Path:
    """Everything into ``out``; returns the page. Called again, finished parts are not repeated.

    size: in place of the full or the quick one.
    """
    size = size or (QUICK if quick else FULL)
    console, started = Console(), time.monotonic()
    scans = out / "scans"
    if not (scans / "test.list").exists():
        console.print(
            f"making {size.cases} phantom scans, {size.labeled} of them labelled for training"
        )
        write_phantoms(
            scans,
            size.cases,
            seed,
            test=size.test,
            labeled=size.labeled,
            settings=size.phantoms,
        )
    cache = prepare(scans, out / "cache")
    base = _trained(cache, out / BASE, CONTROL, size, size.base, seed, None, console)
    arms = {CONTROL: size.control, METHOD: size.method}
    for method, steps in arms.items():
        score_run(_trained(cache, out / method, method, size, steps, seed, base, console))
    results = [load_result(out / method, method_title(method)) for method in arms]
    notes = [
        f"{size.cases - size.test} phantom scans for training, {size.labeled} of them labelled, "
        f"{size.test} for testing; seed {seed}.",
        f"Both go on from the same {size.base} supervised steps: {method_title(METHOD)} for "
        f"{size.method}, which also read the unlabelled scans, the control for {size.control}, "
        "which take about the same time. Network, labelled scans and recipe are the same.",
        "Made-up scans and a short training of a small network: this shows how the parts work "
        "together, not how good a method is.",
    ]
    page = write_page(out, cache, results, Words(title="simcvd demo", notes=notes))
    console.print(
        f"done in {time.monotonic() - started:.0f} s; open [bold]{page}[/bold]", soft_wrap=True
    )
    return page


def _trained(
    cache: Cache,
    out: Path,
    method: str,
    size: DemoSize,
    steps: int,
    seed: int,
    base: Path | None,
    console: Console,
) -> Path:
    """One training of the demo, from the weights of ``base`` if there is one; its folder."""
    title = method_title(method) if base else "the base of both"
    console.print(f"training [bold]{title}[/bold], {steps} steps")
    schedule = replace(
        STRONG.train,
        iterations=steps,
        base=size.base if base else 0,
        patch=size.patch,
        augmentation="none",
        seed=seed,
    )
    return train(
        cache.root,
        out,
        method=method,
        labeled=size.labeled,
        train=schedule,
        network=size.network,
        settings=[MIRROR],
        recipe=STRONG,
        init=[base] if base else (),
    )
