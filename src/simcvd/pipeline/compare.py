"""The control and SimCVD on held-out labelled scans, and what that says in plain words."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from simcvd.data.cache import Cache
from simcvd.engine.log import read_log
from simcvd.engine.loop import train
from simcvd.engine.score_run import score_run
from simcvd.files import replace_into
from simcvd.pipeline.presets import Folds
from simcvd.planning import Plan
from simcvd.report.results import Result, load_result
from simcvd.scoring.comparison import Comparison, compare_folds
from simcvd.scoring.record import Report, is_scored, read_report, scores_folder, write_report
from simcvd.scoring.titles import method_title
from simcvd.scoring.words import gap_words

CONTROL, SIMCVD = "supervised", "simcvd"


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
        if not is_scored(run, "holdout"):
            score_run(run, split="holdout", cache=cache.root)
    scored = pool(runs, out)
    # One curve stands for all: they are of like trainings.
    result = load_result(out, method_title(method))
    return dataclasses.replace(result, log=read_log(runs[0]), folds=scored)


def pool(runs: Sequence[Path], out: Path) -> tuple[tuple[str, ...], ...]:
    """Write the scores and label maps of the runs' held-out scans as one report into ``out``.

    Returns the scans of each run.
    """
    folders = [scores_folder(run, "holdout") for run in runs]
    reports = [read_report(folder) for folder in folders]
    for folder in folders:
        for path in (folder / "predictions").glob("*.nii.gz"):
            with replace_into(out / "predictions" / path.name) as temporary:
                shutil.copyfile(path, temporary)
    scores = [score for report in reports for score in report.scores]
    info = {"split": "holdout", "folds": [run.name for run in runs]}
    write_report(Report(scores=sorted(scores, key=lambda s: (s.case, s.label)), info=info), out)
    return tuple(report.cases for report in reports)


def difference(control: Result, other: Result) -> Comparison:
    """Dice of ``other`` minus that of ``control``, fold by fold."""
    return compare_folds(control.by_fold(), other.by_fold())


def better(control: Result, simcvd: Result) -> str:
    """The method whose mean Dice on the held-out scans is higher; the control in a tie."""
    return SIMCVD if difference(control, simcvd).gap.mean > 0 else CONTROL


def answer(control: Result, simcvd: Result) -> str:
    """Did the unlabelled scans help, by how much, how sure."""
    found = difference(control, simcvd)
    begins = {
        "better": "The unlabelled scans helped",
        "worse": "The unlabelled scans did harm",
        "inconclusive": "Whether the unlabelled scans helped is inconclusive",
        "no verdict": "Whether the unlabelled scans helped is open",
    }[found.verdict]
    assumed = (
        " Each fold is one training of either on scans of its own; the variation from fold to fold "
        "stands for that between seeds and between scans."
    )
    return (
        f"{begins}: mean Dice {_dice(simcvd)} with them ({simcvd.name}) and {_dice(control)} "
        f"without ({control.name}), {gap_words(found, what='points', scale=100)}."
        f"{'' if found.verdict == 'no verdict' else assumed}"
    )


def _dice(result: Result) -> str:
    mean = result.summary.means["dice"].mean
    return "undefined" if math.isnan(mean) else f"{100 * mean:.1f} %"
