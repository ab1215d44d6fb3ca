"""The verbs that are killed, on scans so small that each takes a second or two."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
from tests.faults.kills import Scenario, typed
from tests.faults.samples import LABEL, PLAIN, VOXELS
from tests.review.work import make_work
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
# A base of two steps, then two of a method that uses the unlabelled scans.
WARM = ["--method", "cutmix", "--labeled", "2", "--iterations", "2", *TRAINING[8:]]
WARM += ["--set", "train.base=2"]
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
    """What scenarios begin with, made once: scans, their cache, a finished and scored run of it.

    No scenario changes it: what another reads there would differ from its undisturbed run.
    """

    scans: Path
    cache: Path
    run: Path

    @property
    def job(self) -> Path:
        """A finished `simcvd run`, made when it is first asked for."""
        job = self.run.with_name("job")
        if not job.exists():
            _plan(self, job.parent)
            _must(*(word.replace("WORK", str(job.parent)) for word in _run_arguments(self)))
        return job

    def another_round(self, work: Path) -> None:
        """The finished run, and one more label, drawn since."""
        _copy(self.job, work / "job")
        drawn = sorted((self.scans / "labels").iterdir())[4]
        (work / "job" / "labels").mkdir()
        shutil.copy2(drawn, work / "job" / "labels")


def make_base(folder: Path) -> Base:
    """Make scans, cache and run below ``folder``."""
    base = Base(scans=folder / "scans", cache=folder / "cache", run=folder / "run")
    write_scans(base.scans)
    _must("prepare", str(base.scans), "--out", str(base.cache), "--workers", "1")
    _must("train", str(base.cache), *TRAINING, "--out", str(base.run))
    _must("evaluate", str(base.run), "--split", "holdout")
    return base


def scenarios(base: Base) -> dict[str, Scenario]:
    """Every verb that writes, by name."""
    images = sorted((base.scans / "images").iterdir())[:3]
    cache, run = str(base.cache), str(base.run)
    changes = [f"--change={name}={value}" for name, value in GRID.items()]
    made = [
        Scenario("prepare", ["prepare", str(base.scans), "--out", "WORK/cache", "--workers", "1"]),
        Scenario(
            "exchange",  # every case replaced by one of other settings
            ["prepare", str(base.scans), "--out", "WORK/cache", "--workers", "1", "--spacing", "2"],
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
        Scenario("plan", ["plan", str(base.scans), "--out", "WORK/plan.toml", "--jobs", "1"]),
        Scenario("mend", ["check", "WORK/data", "--fix", "WORK/mended", "--jobs=1"], _broken, 1),
        Scenario("warm", ["train", cache, *WARM, "--out", "WORK/run"]),
        Scenario("report", ["report", run, "--split=holdout", "--out", "WORK/page"]),
        Scenario("review", _draw, _reviewable),
        Scenario("run", _run_arguments(base), lambda work: _plan(base, work)),
        Scenario("round", ["run", "--out", "WORK/job", "--jobs", "1"], base.another_round),
    ]
    return {scenario.name: scenario for scenario in made}


def _run_arguments(base: Base) -> list[str]:
    folders = ["--images", str(base.scans / "images"), "--labels", str(base.scans / "few")]
    return ["run", *folders, "--out", "WORK/job", "--preset", "quick", "--workers", "1"]


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


def _broken(work: Path) -> None:
    """Two scans that can be mended: one with a NaN, one whose label is of floats."""
    for place in ("images", "labels"):
        (work / "data" / place).mkdir(parents=True)
    for name in ("a", "b"):
        voxels = VOXELS.astype(np.float32)
        voxels[0, 0, 0] = np.nan if name == "a" else 0
        image = nibabel.Nifti1Image(voxels, PLAIN)
        nibabel.save(image, work / "data" / "images" / f"{name}.nii.gz")
        label = nibabel.Nifti1Image(LABEL.astype(np.float32), PLAIN)
        nibabel.save(label, work / "data" / "labels" / f"{name}.nii.gz")


def _reviewable(work: Path) -> None:
    make_work(work, ["a"])


def _draw(work: Path) -> None:
    """What the page of `simcvd review` has done when a drawing is saved on top of a label."""
    from simcvd.review.labels import base_stamp, save
    from simcvd.review.round import Round
    from simcvd.review.scans import view_of

    round_ = Round.read(work / "work")
    view = view_of(round_, "a")
    drawn = np.zeros(view.shape, np.uint8)
    drawn[2:9, 3, 1] = 2
    stamps = {"scan_stamp": view.stamp, "map_stamp": base_stamp(round_, "a", "given")}
    save(round_, "a", base="given", drawn=drawn.ravel(order="F"), **stamps)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)


def _must(*command: str) -> None:
    code, said, _ = typed(command, {})
    if code != 0:
        raise AssertionError(f"simcvd {' '.join(command)} ended with {code}:\n{said}")
