"""The control and SimCVD on held-out labelled scans, and what that says in plain words."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simcvd.benchmark.statistics import Comparison
from simcvd.data.cache import Cache
from simcvd.engine.evaluate import Report, write_report
from simcvd.engine.log import read_log
from simcvd.engine.loop import train
from simcvd.engine.score_run import score_run
from simcvd.engine.scores import LEVEL, Score
from simcvd.files import replace_into
from simcvd.pipeline.presets import Folds
from simcvd.planning import Plan
from simcvd.report.results import Result, difference, load_result

CONTROL, SIMCVD = "supervised", "simcvd"
TITLES = {CONTROL: "Supervised V-Net", SIMCVD: "SimCVD"}


def cross_validate(cache: Cache, work: Path, method: str, plan: Plan, folds: Folds) -> Result:
    """Train and score each fold below ``work/method``, going on with what is there.

    The pooled scores and predictions of the held-out scans lie in ``work/method`` itself.
    """
    out = work / method
    runs = [out / f"fold_{fold}" for fold in range(folds.count)]
    for fold, run in enumerate(runs):
        held = (f"train.holdout={folds.holdout}", f"train.fold={fold}")
        settings = [*plan.settings(method), *held]
        train(cache.root, run, method=method, labeled=folds.trained_on, settings=settings)
        if not (run / "holdout" / "metrics.json").exists():
            score_run(run, split="holdout", cache=cache.root)
    pool(runs, out)
    # One curve stands for all: they are of like trainings.
    return dataclasses.replace(load_result(out, TITLES[method]), log=read_log(runs[0]))


def pool(runs: Iterable[Path], out: Path) -> None:
    """Write the scores and label maps of the runs' held-out scans as one report into ``out``."""
    scores: list[Score] = []
    for run in runs:
        folder = run / "holdout"
        content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        scores += map(_score, content["scores"])
        for path in (folder / "predictions").glob("*.nii.gz"):
            with replace_into(out / "predictions" / path.name) as temporary:
                shutil.copyfile(path, temporary)
    info = {"split": "holdout", "folds": [run.name for run in runs]}
    write_report(Report(scores=sorted(scores, key=lambda s: (s.case, s.label)), info=info), out)


def _score(record: dict[str, Any]) -> Score:
    values = {name: math.nan if v is None else v for name, v in record["values"].items()}
    return Score(**{**record, "values": values})


def better(control: Result, simcvd: Result) -> str:
    """The method whose mean Dice on the held-out scans is higher; the control in a tie."""
    return SIMCVD if difference(control, simcvd).mean > 0 else CONTROL


def answer(control: Result, simcvd: Result) -> str:
    """Did the unlabelled scans help, by how much, how sure: one sentence."""
    return _sentence(difference(control, simcvd), control, simcvd)


def _sentence(gap: Comparison, control: Result, simcvd: Result) -> str:
    begins = {
        "better": "The unlabelled scans helped",
        "worse": "The unlabelled scans did harm",
        "cannot be told": "Whether the unlabelled scans helped cannot be told",
    }[gap.verdict]
    why = f" ({'; '.join(gap.doubts)})" if gap.doubts else ""
    interval = (
        f"{LEVEL} % interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f}"
        if math.isfinite(gap.low)
        else "no interval from a single scan"
    )
    return (
        f"{begins}{why}: mean Dice {_dice(simcvd)} with them (SimCVD) and {_dice(control)} without "
        f"(supervised), {100 * gap.mean:+.1f} points, {interval} over {gap.scans} held-out "
        f"labelled scans, p = {gap.p:.2g}."
    )


def _dice(result: Result) -> str:
    mean = result.summary["means"]["dice"]["mean"]
    return "undefined" if mean is None else f"{100 * mean:.1f} %"
