"""The arms on held-out labelled scans.

An arm is a way of training that a run compares: the supervised control, a method that learns from
the unlabelled scans too, and the mean of the weights of both. Where a plan has a base, control and
method go on from the same supervised weights, and the control gets the method's time.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from simcvd.data.cache import Cache
from simcvd.files import copy
from simcvd.inference.compute import pick_device
from simcvd.inference.model import DESCRIPTION
from simcvd.machine import all_memory, is_in_command
from simcvd.pipeline.presets import Folds
from simcvd.pipeline.relay import relayed
from simcvd.planning import Plan
from simcvd.report.results import Result, load_result
from simcvd.scoring.comparison import Comparison, compare_folds, correct
from simcvd.scoring.record import Report, is_scored, read_report, scores_folder, write_report
from simcvd.scoring.titles import method_title
from simcvd.training.apart import Call, execute_all, shared_threads
from simcvd.training.log import read_log
from simcvd.training.loop import BASE, train
from simcvd.training.recipes import find_recipe
from simcvd.training.run import CONTROL, Split
from simcvd.training.score_run import score_run
from simcvd.training.start import average_runs
from simcvd.types import SimcvdError
from simcvd.wording import counted, duration, few
from simcvd.workers.processes import on_cluster, shared_out

MEAN = "mean"
FINISHED_BEFORE = 1.0  # seconds: what takes less was not trained now
PROGRAM_BYTES = 2**29  # of a process beside its training steps
# On n threads a training is taken to be n to this power times as fast as on one of as many beside
# it: two, each on a thread, make 1.24 times the steps of one on both (docs/speed.md), and
# 2 / 1.24 = 2 ** 0.7.
SPEED = 0.7


@dataclass(frozen=True, kw_only=True)
class Arms:
    """What is compared. method: the one that learns from the unlabelled scans, too."""

    cache: Cache
    plan: Plan
    method: str

    @property
    def names(self) -> tuple[str, ...]:
        """The control first. A mean has a meaning only for weights that began alike."""
        return (CONTROL, self.method, *([MEAN] if self.plan.base else []))

    def title(self, arm: str) -> str:
        """What an arm is called in the report."""
        if arm == MEAN:
            return f"mean of {method_title(CONTROL)} and {method_title(self.method)}"
        if arm == BASE:
            return "the base of all"
        return method_title(arm)

    def trained(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """What is trained to have the wanted arms, in order."""
        base = (BASE,) if self.plan.base else ()
        return (*base, *(a for a in (CONTROL, self.method) if a in wanted or MEAN in wanted))

    def train(
        self,
        folders: dict[str, Path],
        labeled: int,
        *more: str,
        wanted: Sequence[str] = (),
        scans: Split | None = None,
        start: Path | None = None,
        tell: Callable[[str], None] = lambda title: None,
    ) -> None:
        """Train the wanted arms, all by default, each into its folder; the base into its own.

        scans: the fold, where counts in ``more`` do not say it. start: a run whose weights the
        base starts from, or, without a base, the arms. tell: is given each training's title.
        """
        wanted = wanted or self.names
        for arm in self.trained(wanted):
            tell(self.title(arm))
            method = CONTROL if arm == BASE else arm
            train(
                self.cache.root,
                folders[arm],
                method=method,
                labeled=labeled,
                settings=(*self.plan.settings(method), *more, *self._steps(arm)),
                recipe=find_recipe(self.plan.recipe),
                init=[start] if start else (),
                scans=scans,
            )
            start = folders[BASE] if arm == BASE else start
        if MEAN in wanted and not (folders[MEAN] / DESCRIPTION).exists():
            average_runs([folders[CONTROL], folders[self.method]], folders[MEAN])

    def _steps(self, arm: str) -> tuple[str, ...]:
        if arm == BASE:
            return f"train.iterations={self.plan.base}", "train.base=0"
        own = self.plan.control_iterations if arm == CONTROL else 0
        return (f"train.iterations={own}",) if own else ()


def counting(
    say: Callable[[str], None], titles: Sequence[str], those: str = "in all"
) -> Callable[..., None]:
    """A function that says a training's title, where it belongs, and how long all will still take.

    titles: of all trainings in order, ``those`` in words. The time of each to come is that of the
    last of its title, or else the mean of those done here; one that lay finished in the folder
    tells nothing.
    """
    took: dict[str, float] = {}
    begun: list[float] = []

    def tell(title: str, where: str = "") -> None:
        now = time.monotonic()
        if begun and now - begun[-1] > FINISHED_BEFORE:
            took[titles[len(begun) - 1]] = now - begun[-1]
        begun.append(now)
        mean = sum(took.values()) / max(len(took), 1)
        left = sum(took.get(one, mean) for one in titles[len(begun) - 1 :])
        when = f", {duration(left)} left {those}" if took else ""
        say(f"training {len(begun)} of {len(titles)}{when}: {title}{where}")

    return tell


def at_once(asked: int | None, folds: Folds, plan: Plan) -> int:
    """How many folds are trained side by side on this machine.

    As many as were asked for; 1 where a cluster takes them. Else, in a command and on a CPU, so
    many as get all done first, in turns and with a share of the threads each, if half the memory
    holds them.
    """
    if asked is not None:
        return min(asked, folds.count)
    if on_cluster() or not is_in_command() or pick_device().type != "cpu":
        return 1
    room = all_memory() // 2 // (PROGRAM_BYTES + plan.memory_bytes)
    most = max(1, min(folds.count, torch.get_num_threads(), room))

    def takes(processes: int) -> float:
        return math.ceil(folds.count / processes) / shared_threads(processes) ** SPEED

    return min(range(1, most + 1), key=takes)


def cross_validate(
    arms: Arms,
    work: Path,
    folds: Folds,
    say: Callable[[str], None],
    former: Path | None = None,
    processes: int = 1,
) -> list[Result]:
    """Train and score each arm in each fold, going on with what is there; the control's first.

    A fold's runs are ``work/ARM/fold_K``, the pooled scores and predictions of an arm's held-out
    scans lie in ``work/ARM``. former: the result of an earlier round, from whose control of the
    same fold all start: it has seen neither the fold's labels nor any unlabelled scan. processes:
    folds that are trained side by side on this machine, as of `at_once`; in a block of `on_workers`
    with a cluster, its workers take them. Each is then a process of its own with a log in
    ``work/logs``.
    """
    each = FoldOf(arms=arms, work=work, folds=folds, former=former)
    numbers = range(folds.count)
    if shared_out(processes):
        say(f"{counted(folds.count, 'fold')}, {len(each.titles)} trainings each, side by side")
        logs = [work / "logs" / f"fold_{fold}.log" for fold in numbers]
        _side_by_side(each, logs, processes, say)
    else:
        tell = counting(say, each.titles * folds.count)
        for fold in numbers:
            each(fold, functools.partial(tell, where=f", fold {fold + 1} of {folds.count}"))
    return [
        _pooled(arms, arm, work / arm, [each.folders(fold)[arm] for fold in numbers])
        for arm in arms.names
    ]


@dataclass(frozen=True, kw_only=True)
class FoldOf:
    """What a process needs to train and score the arms in any fold; as a function it does one."""

    arms: Arms
    work: Path
    folds: Folds
    former: Path | None

    def folders(self, fold: int) -> dict[str, Path]:
        """Where a fold's runs lie, by arm."""
        return {arm: self.work / arm / f"fold_{fold}" for arm in (BASE, *self.arms.names)}

    @property
    def titles(self) -> list[str]:
        """Of the trainings of a fold, in order."""
        return [self.arms.title(arm) for arm in self.arms.trained(self.arms.names)]

    def __call__(self, fold: int, tell: Callable[[str], None] | None = None) -> None:
        """Go on with what is there; errors as of `train` and `score_run`."""
        arms, folds, folders = self.arms, self.folds, self.folders(fold)
        say = functools.partial(print, flush=True)
        tell = tell or counting(say, self.titles, "in this fold")
        start = self.former / CONTROL / f"fold_{fold}" if self.former else None
        if folds.named:
            scans = folds.named[fold].scans
            arms.train(folders, len(scans[0]), scans=scans, start=start, tell=tell)
        else:
            held = (f"train.holdout={folds.holdout}", f"train.fold={fold}")
            arms.train(folders, folds.trained_on, *held, start=start, tell=tell)
        for arm in arms.names:
            if not is_scored(folders[arm], "holdout"):
                score_run(folders[arm], split="holdout", cache=arms.cache.root)


def _side_by_side(
    each: FoldOf, logs: Sequence[Path], processes: int, say: Callable[[str], None]
) -> None:
    """Every fold in a process of its own. Raises SimcvdError if any failed, after all."""
    calls = [
        Call(name=f"fold {fold + 1}", do=functools.partial(each, fold), log=log)
        for fold, log in enumerate(logs)
    ]
    failed = []
    with relayed({call.name: call.log for call in calls}, say) as look:
        for ended in execute_all(calls, jobs=processes):
            look()
            say(f"{ended.name}: {ended.problem.partition(';')[0] or 'done'}")
            failed += [ended.name] if ended.problem else []
    if failed:
        raise SimcvdError(
            f"{few(failed)} failed; the others are kept. Fix the cause and re-run the same command"
        )


def _pooled(arms: Arms, arm: str, out: Path, runs: Sequence[Path]) -> Result:
    scored = pool(runs, out)
    # One curve stands for all: they are of like trainings.
    result = load_result(out, arms.title(arm))
    return dataclasses.replace(result, log=read_log(runs[0]), folds=scored)


def pool(runs: Sequence[Path], out: Path) -> tuple[tuple[str, ...], ...]:
    """Write the scores and label maps of the runs' held-out scans as one report into ``out``.

    Returns the scans of each run.
    """
    folders = [scores_folder(run, "holdout") for run in runs]
    reports = [read_report(folder) for folder in folders]
    for folder in folders:
        for path in (folder / "predictions").glob("*.nii.gz"):
            copy(path, out / "predictions" / path.name)
    scores = [score for report in reports for score in report.scores]
    info = {"split": "holdout", "folds": [run.name for run in runs]}
    write_report(Report(scores=sorted(scores, key=lambda s: (s.case, s.label)), info=info), out)
    return tuple(report.cases for report in reports)


def differences(results: Sequence[Result]) -> list[Comparison]:
    """Dice of every other arm minus that of the control, fold by fold, corrected together."""
    control, *others = (result.by_fold() for result in results)
    return correct([compare_folds(control, other) for other in others])


def best(results: Sequence[Result]) -> int:
    """Which arm's mean Dice on the held-out scans is the highest; the first in a tie."""
    gains = [0.0, *(compared.gap.mean for compared in differences(results))]
    return max(range(len(gains)), key=lambda arm: (gains[arm], -arm))
