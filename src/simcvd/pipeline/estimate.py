"""What a run will take: a few steps of the planned training measured, the rest counted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from simcvd.checking.facts import CaseFacts
from simcvd.inference.compute import pick_device
from simcvd.inference.sliding_window import Windows, grid_of
from simcvd.machine import visible_gpus
from simcvd.methods.registry import default_config
from simcvd.networks.autocast import autocast, autocast_dtype
from simcvd.networks.fast import accelerate
from simcvd.pipeline.compare import PROGRAM_BYTES
from simcvd.pipeline.presets import Folds
from simcvd.planning import Plan
from simcvd.torch_state import left_as_found, threads
from simcvd.training.apart import shared_threads
from simcvd.training.recipes import find_recipe
from simcvd.training.run import CONTROL, Run, default_stride
from simcvd.training.settings import choose_network, override
from simcvd.training.setup import build_method
from simcvd.training.step import Learner
from simcvd.types import Batch, IntTriple, Progress, SimcvdError, Task
from simcvd.wording import duration

# A patch this large is measured in a second or two; a larger one is scaled from it.
MEASURED_VOXELS = 100_000
STEPS = 2
# Measured on hippocampus: preparing takes so many times as long as checking did.
PREPARE = 1.5
LEAST_SHARE = 0.25  # of the planned steps


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Seconds of each part, and bytes of memory.

    train, score: of the comparison, which takes both.
    """

    prepare: float
    train: float
    score: float
    final: float
    predict: float
    memory: int

    @property
    def total(self) -> float:
        """Seconds of everything."""
        return self.fixed + self.train + self.final

    @property
    def fixed(self) -> float:
        """Seconds that fewer steps do not save."""
        return self.prepare + self.score + self.predict

    def sentence(self) -> str:
        """In words."""
        return (
            f"Expected: {duration(self.total)} on this machine as it is now "
            f"({duration(self.prepare)} to prepare, {duration(self.train + self.score)} to "
            f"compare, {duration(self.final)} for the final training, {duration(self.predict)} to "
            f"segment), and {self.memory / 2**30:.1f} GB of memory."
        )


def estimate(
    plan: Plan,
    method: str,
    folds: Folds,
    facts: Sequence[CaseFacts],
    reading: float,
    side_by_side: int = 1,
) -> Estimate:
    """What a run will take.

    reading: seconds that reading all scans once took. side_by_side: folds at once, more of which
    than there are threads or GPUs take turns.
    """
    control, other = _both_steps(plan, method)
    once = fold = _seconds_of_arms(plan, control, other)
    if side_by_side > 1:
        fold = _seconds_of_arms(plan, *_both_steps(plan, method, side_by_side))
        fold *= max(1, side_by_side / (len(visible_gpus()) or torch.get_num_threads()))
    turns = math.ceil(folds.count / side_by_side)
    window = window_seconds(plan)
    windows = {f.case.name: _windows(plan, f) for f in facts}
    labeled = [f.case.name for f in facts if f.label]
    arms = 3 if plan.base else 2
    scored = arms * folds.compared * sum(windows[n] for n in labeled) / max(len(labeled), 1)
    return Estimate(
        prepare=PREPARE * reading,
        train=turns * fold,
        score=scored * window * (turns / folds.count) * (fold / once),
        final=once if plan.base else plan.iterations * max(control, other),
        predict=reading + window * sum(windows.values()),
        memory=side_by_side * (plan.memory_bytes + PROGRAM_BYTES),
    )


def _both_steps(plan: Plan, method: str, side_by_side: int = 1) -> tuple[float, float]:
    """Seconds of a step of the control and of the method, with so many trainings on the machine."""
    with threads(shared_threads(side_by_side)):
        return step_seconds(plan, CONTROL), step_seconds(plan, method)


def _seconds_of_arms(plan: Plan, control: float, other: float) -> float:
    """Of all trainings once, from those of a step of the control and of the method."""
    steps = plan.base + (plan.control_iterations or plan.iterations)
    return steps * control + plan.iterations * other


def fitted(plan: Plan, expected: Estimate, hours: float) -> Plan:
    """The plan with so many steps as fit into the time; unchanged where all do.

    Raises SimcvdError for less than `LEAST_SHARE` of them: what is trained less tells nothing.
    """
    share = (3600 * hours - expected.fixed) / (expected.train + expected.final)
    if share >= 1:
        return plan
    if share < LEAST_SHARE:
        least = expected.fixed + LEAST_SHARE * (expected.train + expected.final)
        raise SimcvdError(
            f"--hours {hours:g} is too short: with a quarter of the planned steps, below which a "
            f"training tells nothing, all takes {duration(least)}. Give --hours "
            f"{math.ceil(least / 36) / 100:g} or more, a faster machine, fewer scans, or --preset "
            "quick if that is not what was asked for"
        )
    names = [n for n in ("base", "iterations", "control_iterations") if getattr(plan, n)]
    steps: dict[str, Any] = {name: max(1, int(share * getattr(plan, name))) for name in names}
    reason = f"{share:.0%} of those planned, to be done within {hours:g} h."
    return replace(plan, **steps, reasons={**plan.reasons, **dict.fromkeys(names, reason)})


def with_equal_time(plan: Plan, method: str, side_by_side: int) -> Plan:
    """The plan with as many steps of the control as take the time of the method's."""
    if not plan.base:
        return plan
    control, other = _both_steps(plan, method, side_by_side)
    ratio = other / control
    steps = max(plan.iterations, round(plan.iterations * ratio))
    reason = f"A step of {method} takes {ratio:.1f} times as long here; at least as many steps."
    reasons = {**plan.reasons, "control_iterations": reason}
    return replace(plan, control_iterations=steps, reasons=reasons)


@left_as_found()
def step_seconds(plan: Plan, method: str) -> float:
    """Seconds of one training step, measured on random patches."""
    patch, share = _small(plan)
    recipe = find_recipe(plan.recipe)
    configs = {
        "method": default_config(method),
        "train": recipe.train,
        "augment": recipe.augment,
        "network": plan.architecture,
    }
    configs = override(configs, choose_network(plan.settings(method), plan.architecture)[1])
    task = Task(channels=plan.channels, classes=plan.classes, patch=patch)
    run = Run(
        method=method,
        labeled=(),
        unlabeled=(),
        holdout=(),
        task=task,
        config=configs["method"],
        train=configs["train"],
        network=configs["network"],
    )
    device = pick_device()
    trained = build_method(run).to(device)
    counts = run.train.patches(uses_unlabeled=trained.uses_unlabeled)
    batch = _random_batch(task, device, *counts)
    middle = Progress(step=1, total=2)
    learner = Learner(trained, run.train, dtype=autocast_dtype(run.train.precision, device))
    return _seconds(lambda: learner.step(batch, middle), device) / share


def window_seconds(plan: Plan) -> float:
    """Seconds of one window through the network, measured on a random patch."""
    patch, share = _small(plan)
    device = pick_device()
    network = plan.architecture.build(channels=plan.channels, classes=plan.classes, distance=True)
    network = accelerate(network.eval().to(device), training=False)
    image = torch.randn(1, plan.channels, *patch, device=device)

    def step() -> None:
        with torch.inference_mode(), autocast(autocast_dtype("auto", device), device):
            network(image)

    return _seconds(step, device) / share


def _small(plan: Plan) -> tuple[IntTriple, float]:
    """A patch that is quick to measure, and its share of the planned one's voxels."""
    patch = list(plan.patch)
    while prod(patch) > MEASURED_VOXELS:
        able = [axis for axis in range(3) if patch[axis] > plan.divisor[axis]]
        if not able:
            break
        longest = max(able, key=lambda axis: patch[axis])
        patch[longest] -= plan.divisor[longest]
    return (patch[0], patch[1], patch[2]), prod(patch) / prod(plan.patch)


def _random_batch(task: Task, device: torch.device, labeled: int, unlabeled: int) -> Batch:
    batch = labeled + unlabeled
    label = torch.randint(task.classes, (labeled, *task.patch), device=device)
    return Batch(
        image=torch.randn(batch, task.channels, *task.patch, device=device),
        label=label,
        distance=torch.rand(labeled, task.classes - 1, *task.patch, device=device),
        cases=("random",) * batch,
        strong=torch.randn(unlabeled, task.channels, *task.patch, device=device),
        target=torch.randint(task.classes, (unlabeled, *task.patch), device=device),
    )


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    """Mean seconds of a step, the first left out: it sets everything up."""
    for timed in (1, STEPS):
        started = time.perf_counter()
        for _ in range(timed):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / STEPS


def _windows(plan: Plan, facts: CaseFacts) -> int:
    """Windows over a scan at the planned spacing; 0 for one that could not be read."""
    if facts.image is None:
        return 0
    shape = facts.image.content if plan.crop == "nonzero" else facts.image.shape
    x, y, z = (
        max(1, round(n * old / new))
        for n, old, new in zip(shape, facts.image.spacing, plan.spacing, strict=True)
    )
    how = Windows(patch=plan.patch, stride=default_stride(plan.patch), classes=plan.classes)
    return grid_of((x, y, z), how).count
