"""Does a training follow the plain one? SimCVD from the same weights on the same patches.

    python benchmarks/training_curve.py CACHE [--steps N] [--labeled N] [--set NAME=VALUE] [--quick]

"simcvd" trains as `simcvd train` does on this machine, in bfloat16 where the processor computes in
it; "plain" is plain_step.py, in float32, with the same noise and dropout; "plain, other draws" is
that with other noise and dropout, and shows what chance alone does. Writes training_curve.md and
training_curve.png: each term, and Dice on training scans whose labels none of the three has read.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from plain_step import PlainStep
from rows import machine
from segmenting import segmented
from torch import nn
from training_speed import TINY, Training, our_trainer

from simcvd.data.cache import Cache
from simcvd.files import replace_into, write_text
from simcvd.inference.sliding_window import Windows
from simcvd.report.figures import curves
from simcvd.training.log import Row
from simcvd.training.loop import Trainer
from simcvd.training.setup import mix
from simcvd.types import IntTriple, Progress

OURS, PLAIN, OTHERS = "simcvd", "plain", "plain, other draws"
STRETCHES = 8  # rows of the table


@dataclass(frozen=True, kw_only=True)
class Followed:
    """One of the trainings: its network, its step, and what was logged."""

    network: nn.Module
    step: Callable[[], Row]
    rows: list[Row] = field(default_factory=list)


def trainings(trainer: Trainer) -> dict[str, Followed]:
    """The three, at step 0."""
    made = {OURS: Followed(network=trainer.method.network, step=trainer.train_step)}
    for name, other in ((PLAIN, 0), (OTHERS, 1)):
        plain = PlainStep(trainer.run, trainer.patches.batch, trainer.fabric.device)
        made[name] = Followed(network=plain.method.network, step=_logged(plain, other))
    return made


def _logged(plain: PlainStep, other: int) -> Callable[[], Row]:
    """A plain step with the draws of the trainer's, or with others."""

    def step() -> Row:
        train, at = plain.run.train, plain.step
        weights = plain.method.weights(Progress(step=at, total=train.iterations))
        torch.manual_seed(mix(train.seed + other, at, 0))
        terms = plain()
        return {f"term/{name}": float(term) for name, term in terms.items()} | {
            f"weight/{name}": weight for name, weight in weights.items()
        }

    return step


def dice(network: nn.Module, data: Cache, names: Sequence[str], patch: IntTriple) -> list[float]:
    """Of each scan, in %; every network predicts in float32, half a patch apart."""
    x, y, z = (n // 2 for n in patch)
    how = Windows(patch=patch, stride=(x, y, z), classes=data.task_info.classes)
    return [found for _, found in segmented(network, data, names, how)]


def lines_of(logs: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Markdown: the mean of each term over stretches of the training, beside the plain one's."""
    terms = [key for key in logs[OURS][0] if key.startswith("term/")]
    yield f"| term | iterations | {' | '.join(logs)} |"
    yield "|---|---|" + "---|" * len(logs)
    length = len(logs[OURS])
    for term in terms:
        for part in np.array_split(np.arange(length), min(STRETCHES, length)):
            means = [mean(rows[i][term] for i in part) for rows in logs.values()]
            shown = " | ".join(f"{value:.4f}" for value in means)
            yield f"| {term.removeprefix('term/')} | {part[0]} to {part[-1]} | {shown} |"


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--labeled", type=int, default=8)
    parser.add_argument("--scans", type=int, default=8, help="how many are scored")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--quick", action="store_true", help="a tiny network; tests this file")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/speed"))
    given = parser.parse_args()
    tiny = TINY if given.quick else ()
    settings = (f"train.iterations={given.steps}", *tiny, *given.settings)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = our_trainer(
            given.cache, Training(labeled=given.labeled, settings=settings), Path(scratch)
        )
    three = trainings(trainer)
    for at in range(1, given.steps + 1):
        for one in three.values():
            one.rows.append({"step": at, **{k: float(v) for k, v in one.step().items()}})
        if at % 10 == 0:
            last = ", ".join(f"{one.rows[-1]['term/seg']:.4f}" for one in three.values())
            print(f"{at} of {given.steps}: seg {last}", flush=True)

    logs = {name: one.rows for name, one in three.items()}
    data, run = Cache(given.cache), trainer.run
    scored = [n for n in run.unlabeled if data.manifest.cases[n].has_label][: given.scans]
    reached = {name: dice(one.network, data, scored, run.task.patch) for name, one in three.items()}
    text = [
        "# A training beside the plain one",
        "",
        ", ".join(f"{key}: {value}" for key, value in machine().items()),
        "",
        f"SimCVD, {given.labeled} labelled scans, {given.steps} iterations of 2+2 patches of "
        f"{' x '.join(map(str, run.task.patch))}, seed {run.train.seed}; simcvd in "
        f"{trainer.dtype or 'float32'}, plain in float32.",
        *(f"Set: {setting}." for setting in given.settings),
        "",
        f"| Dice [%] on {len(scored)} unlabelled training scans | {' | '.join(logs)} |",
        "|---|" + "---|" * len(logs),
        "| mean | " + " | ".join(f"{mean(values):.2f}" for values in reached.values()) + " |",
        *(
            f"| {index} | " + " | ".join(f"{value:.2f}" for value in values) + " |"
            for index, values in enumerate(zip(*reached.values(), strict=True), 1)
        ),
        "",
        *lines_of(logs),
    ]
    write_text(given.out / "training_curve.md", "\n".join(text) + "\n")
    with replace_into(given.out / "training_curve.png") as temporary:
        curves(logs).savefig(temporary, format="png")
    print(given.out / "training_curve.md")


if __name__ == "__main__":
    main()
