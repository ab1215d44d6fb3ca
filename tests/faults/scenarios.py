"""The verbs that are killed, on scans so small that each takes a second or two."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.kills import Scenario, typed
from tests.small import NETWORK, TEST, write_scans

SIZES = {
    "widths": NETWORK.widths,
    "blocks": NETWORK.blocks,
    "strides": NETWORK.strides,
}
TRAINING = [
    *("--method", "supervised", "--labeled", "2", "--recipe", "paper", "--iterations", "3"),
    *("--set", "train.patch=(16,16,8)", "--set", "train.holdout=1"),
    *(word for name, value in SIZES.items() for word in ("--set", f"network.{name}={value}")),
]
PROTOCOL = ["--protocol=hippocampus", "--row=supervised"]
GRID = {
    "train_scans": 6,
    "test_scans": TEST,
    "spacing": (1.0, 1.0, 2.0),
    "patch": (16, 16, 8),
    "stride": (8, 8, 4),
    **SIZES,
    "labeled": (3,),
    "seeds": (0,),
    "iterations": 3,
}


@dataclass(frozen=True)
class Base:
    """What scenarios begin with, made once: scans, their cache, a finished run of it."""

    scans: Path
    cache: Path
    run: Path


def make_base(folder: Path) -> Base:
    """Make scans, cache and run below ``folder``."""
    base = Base(scans=folder / "scans", cache=folder / "cache", run=folder / "run")
    write_scans(base.scans)
    _must("prepare", str(base.scans), "--out", str(base.cache), "--jobs", "1")
    _must("train", str(base.cache), *TRAINING, "--out", str(base.run))
    return base


def scenarios(base: Base) -> dict[str, Scenario]:
    """Every verb that writes, by name."""
    images = sorted((base.scans / "images").iterdir())[:3]
    cache, run = str(base.cache), str(base.run)
    changes = [f"--change={name}={value}" for name, value in GRID.items()]
    made = [
        Scenario("prepare", ["prepare", str(base.scans), "--out", "WORK/cache", "--jobs", "1"]),
        Scenario(
            "exchange",  # every case replaced by one of other settings
            ["prepare", str(base.scans), "--out", "WORK/cache", "--jobs", "1", "--spacing", "2"],
            lambda work: _copy(base.cache, work / "cache"),
        ),
        Scenario("train", ["train", cache, *TRAINING, "--out", "WORK/run"]),
        Scenario("evaluate", ["evaluate", run, "--split", "holdout", "--out", "WORK/scores"]),
        Scenario("predict", ["predict", run, *map(str, images), "--out", "WORK/out", "--entropy"]),
        Scenario("export", ["export", run, "--out", "WORK/model.zip"]),
        Scenario(
            "benchmark",
            ["benchmark", cache, "--out=WORK/grid", *PROTOCOL, *changes],
        ),
        Scenario("run", _run_arguments(base), lambda work: _plan(base, work)),
    ]
    return {scenario.name: scenario for scenario in made}


def _run_arguments(base: Base) -> list[str]:
    folders = ["--images", str(base.scans / "images"), "--labels", str(base.scans / "few")]
    return ["run", *folders, "--out", "WORK/job", "--preset", "quick", "--jobs", "1"]


def _plan(base: Base, work: Path) -> None:
    """A plan that trains in a second, where `run` will look for it."""
    from simcvd.planning import make_plan, write_plan

    few = base.scans / "few"
    if not few.exists():
        few.mkdir()
        for path in sorted((base.scans / "labels").iterdir())[:4]:
            shutil.copy2(path, few)
    plan = make_plan(base.scans / "images", few, jobs=1).quick()
    tiny = replace(
        plan,
        patch=(16, 16, 8),
        widths=(4, 8),
        blocks=(1, 1),
        strides=((2, 2, 2),),
        base=2,
        iterations=2,
    )
    (work / "job").mkdir()
    write_plan(tiny, work / "job" / "plan.toml")


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)


def _must(*command: str) -> None:
    code, said, _ = typed(command, {})
    if code != 0:
        raise AssertionError(f"simcvd {' '.join(command)} ended with {code}:\n{said}")
