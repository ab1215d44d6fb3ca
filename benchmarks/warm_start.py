"""How soon does a training that starts from another model reach what fresh weights reach?

    python benchmarks/warm_start.py CACHE --protocol hippocampus-strong [--labeled N] [--steps N]

Three supervised trainings on the first N labelled scans, scored along the way on scans of the
training list that none has read: from fresh weights (what it ends with is the score to reach), from
the model that as many steps made of the N labelled scans after these (`train --init`) for a quarter
of the steps, and from fresh weights for that quarter. The schedule of each is as long as the
training itself. Writes warm_start.json, warm_start.md and warm_start.png.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from lightning_fabric import Fabric
from rows import machine
from segmenting import segmented

from simcvd.benchmark.catalogue import find_protocol
from simcvd.benchmark.protocols import Protocol
from simcvd.data.cache import Cache
from simcvd.files import replace_into, write_text
from simcvd.inference.sliding_window import Windows
from simcvd.training.loop import Trainer, train
from simcvd.training.recipes import find_recipe
from simcvd.training.run import CONTROL, Split, resolve
from simcvd.training.start import read_start
from simcvd.types import SimcvdError

FRESH, WARM, SHORT = "fresh weights", "from the other model", "fresh weights, a quarter"
SHARE = 4  # how many times shorter the short ones are


@dataclass(frozen=True, kw_only=True)
class Course:
    """Mean Dice in % on the held-out scans after some of a training's steps, the last included."""

    steps: tuple[int, ...]
    dice: tuple[float, ...]

    def reaches(self, score: float) -> int | None:
        """The first step that was scored at least so high."""
        pairs = zip(self.steps, self.dice, strict=True)
        return next((step for step, dice in pairs if dice >= score), None)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the trainings share. every: steps between scores."""

    cache: Cache
    protocol: Protocol
    seed: int
    every: int

    def settings(self, steps: int) -> tuple[str, ...]:
        """For ``train --set``: the protocol's, but for the length, and without a base."""
        own = (f"train.iterations={steps}", "train.base=0", f"train.seed={self.seed}")
        return (*self.protocol.settings(), *own)

    def other_model(self, scans: Split, steps: int, out: Path) -> Path:
        """A finished training on other labelled scans."""
        recipe = find_recipe(self.protocol.recipe)
        return train(
            *(self.cache.root, out),
            method=CONTROL,
            labeled=len(scans[0]),
            settings=self.settings(steps),
            recipe=recipe,
            scans=scans,
        )

    def course(self, scans: Split, steps: int, out: Path, init: Path | None = None) -> Course:
        """Train on these labelled scans and score on the way."""
        run = resolve(
            self.cache,
            method=CONTROL,
            labeled=len(scans[0]),
            settings=self.settings(steps),
            recipe=find_recipe(self.protocol.recipe),
            scans=scans,
        )
        trainer = Trainer(Fabric(accelerator="cpu", devices=1), run, self.cache, out)
        if init:
            trainer.start_from([read_start(init)])
        scored = {0: self._dice(trainer, scans[2])} if init else {}
        while trainer.step < steps:
            trainer.train_step()
            if trainer.step % self.every == 0 or trainer.step == steps:
                scored[trainer.step] = self._dice(trainer, scans[2])
                print(
                    f"step {trainer.step} of {steps}: Dice {scored[trainer.step]:.2f}", flush=True
                )
        return Course(steps=tuple(scored), dice=tuple(scored.values()))

    def _dice(self, trainer: Trainer, names: Sequence[str]) -> float:
        how = Windows(
            patch=self.protocol.patch,
            stride=self.protocol.stride,
            classes=self.cache.task_info.classes,
        )
        found = segmented(trainer.tested, self.cache, names, how)
        return mean(dice for _, dice in found)


def splits(cache: Cache, labeled: int, holdout: int) -> tuple[Split, Split]:
    """Labelled, unlabelled and held-out scans of the trainings, and of the other model's."""
    names = [name for name in cache.train if cache.manifest.cases[name].has_label]
    if 2 * labeled + holdout > len(names):
        raise SimcvdError(
            f"{cache.root} has {len(names)} labelled training scans and two times {labeled} and "
            f"{holdout} to score on are asked for; lower --labeled or --holdout"
        )
    held = tuple(names[len(names) - holdout :])
    first, second = names[:labeled], names[labeled : 2 * labeled]
    return (tuple(first), (), held), (tuple(second), (), held)


def table(courses: Mapping[str, Course]) -> list[str]:
    """Markdown: where each training ends, and when it reaches what fresh weights end with."""
    whole = courses[FRESH]
    goal = whole.dice[-1]
    head = "| training | steps | Dice at the end [%] | best | reaches it at step |"
    lines = [head, "|---|---:|---:|---:|---:|"]
    for name, course in courses.items():
        step = course.reaches(goal)
        reached = "never" if step is None else f"{step} ({step / whole.steps[-1]:.0%})"
        last, best = f"{course.dice[-1]:.2f}", f"{max(course.dice):.2f}"
        lines.append(f"| {name} | {course.steps[-1]} | {last} | {best} | {reached} |")
    return lines


def draw(courses: Mapping[str, Course], path: Path) -> None:
    """Dice against the step, the score to reach as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained", dpi=120)
    axes = figure.subplots()
    for name, course in courses.items():
        axes.plot(course.steps, course.dice, ".-", label=name)
    axes.axhline(courses[FRESH].dice[-1], color="0.5", linewidth=0.8)
    axes.set(xlabel="step", ylabel="Dice on held-out scans [%]")
    axes.grid(alpha=0.3)
    axes.legend()
    with replace_into(path) as temporary:
        figure.savefig(temporary, format="png")


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--protocol", default="hippocampus-strong")
    parser.add_argument("--labeled", type=int, default=10)
    parser.add_argument("--holdout", type=int, default=30)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=25, help="steps between scores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/warm-start"))
    given = parser.parse_args()
    cache = Cache(given.cache)
    trial = Trial(
        cache=cache,
        protocol=find_protocol(given.protocol),
        seed=given.seed,
        every=given.every,
    )
    ours, others = splits(cache, given.labeled, given.holdout)
    short = given.steps // SHARE
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        model = trial.other_model(others, given.steps, place / "other")
        courses = {
            FRESH: trial.course(ours, given.steps, place / "fresh"),
            WARM: trial.course(ours, short, place / "warm", model),
            SHORT: trial.course(ours, short, place / "short"),
        }
    setting = (
        f"{given.protocol}, seed {given.seed}, {given.labeled} labelled scans, scored on "
        f"{given.holdout} others of the training list every {given.every} steps; the other model "
        f"learnt from {given.labeled} further scans in {given.steps} steps."
    )
    record = {name: asdict(course) for name, course in courses.items()}
    plain = {"setting": setting, "machine": machine(), "courses": record}
    write_text(given.out / "warm_start.json", json.dumps(plain, indent=1) + "\n")
    text = ["# Starting from another model", "", setting, "", *table(courses)]
    write_text(given.out / "warm_start.md", "\n".join(text) + "\n")
    draw(courses, given.out / "warm_start.png")
    print("\n".join(text))


if __name__ == "__main__":
    main()
