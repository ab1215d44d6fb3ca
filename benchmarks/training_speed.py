"""One SimCVD step on full-size patches: ours against the same method written plainly.

    python benchmarks/training_speed.py SCANS_OR_CACHE [--spacing MM] [--steps N] [--set NAME=VALUE]

SCANS_OR_CACHE is a folder of scans, or what `simcvd prepare` made of one. The plain step
(plain_step.py) is the one this field shares. Each has a process of its own (turns.py). Then: where
our step's time goes (stages.py).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rows import Parts, Row, machine, parts_table, rows_table
from turns import in_turn, row

# Settings that test a measurement, not measure.
TINY = (
    "train.patch=(16,16,16)",
    "network.widths=(4,8)",
    "network.blocks=(1,1)",
    "network.strides=((2,2,2),)",
    "method.pool=8",
    "method.hidden=16",
)


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained and how long it is measured.

    labeled: scans that count as labelled. settings: ``group.field=value`` as `simcvd train` takes
    them. warmup, rounds: turns of each side before and while it is measured; a process has nearly
    all the memory it will reuse after eight steps. ours, plain: steps a turn, about as long as the
    other's: a training does not pause after each step. apart: see `in_turn`.
    """

    labeled: int = 8
    settings: tuple[str, ...] = ()
    warmup: int = 3
    rounds: int = 3
    ours: int = 3
    plain: int = 1
    apart: bool = True


def training_row(cache: Path, how: Training, name: str) -> Row:
    """Seconds a step of both, in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        recipes = {
            "plain": (plain_steps, (cache, how, Path(scratch))),
            "ours": (our_steps, (cache, how, Path(scratch) / "run")),
        }
        sides = in_turn(recipes, rounds=how.rounds, warmup=how.warmup, apart=how.apart)
    made = row(name, "plain step", sides["ours"], sides["plain"], sides["ours"].value)
    return per_step(made, how)


def per_step(measured: Row, how: Training) -> Row:
    """Turns of several steps divided among them."""
    cpu = measured.cpu_ratio
    return replace(
        measured,
        seconds=measured.seconds / how.ours,
        reference_seconds=measured.reference_seconds / how.plain,
        cpu_ratio=None if cpu is None else cpu * how.ours / how.plain,
    )


def training_parts(cache: Path, how: Training) -> Parts:
    """Where our step's time goes, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        recipe = (our_parts, (cache, how, Path(scratch) / "run"))
        return in_turn({"ours": recipe}, rounds=1, apart=how.apart)["ours"].value


def plain_steps(cache: Path, how: Training, folder: Path) -> Callable[[], object]:
    """Made in its own process: the reference's turn."""
    from plain_step import PlainPatches, PlainStep

    from simcvd.data.cache import Cache
    from simcvd.inference.compute import pick_device

    data, device = Cache(cache), pick_device()
    run = _run(data, how)
    step = PlainStep(run, PlainPatches(run, data, folder, device).batch, device)
    return _repeated(step, how.plain, device)


def our_steps(cache: Path, how: Training, folder: Path) -> Callable[[], object]:
    """Made in its own process: our turn, which returns what precision and patch it ran with."""
    trainer = our_trainer(cache, how, folder)
    steps = _repeated(trainer.train_step, how.ours, trainer.fabric.device)
    patch = " x ".join(map(str, trainer.run.task.patch))
    text = f"{trainer.fabric.device}, {trainer.dtype or 'float32'}, 2+2 patches of {patch}"

    def turn() -> str:
        steps()
        return text

    return turn


def our_parts(cache: Path, how: Training, folder: Path) -> Callable[[], Parts]:
    """Made in its own process: the measurement of our step's parts."""
    from stages import parts_of

    trainer = our_trainer(cache, how, folder)
    for _ in range(how.warmup * how.ours):
        trainer.train_step()
    return lambda: parts_of(trainer, how.rounds)


def our_trainer(cache: Path, how: Training, folder: Path) -> Any:
    """A `Trainer` as `simcvd train` makes it."""
    from simcvd.data.cache import Cache
    from simcvd.machine import is_command
    from simcvd.torch_state import set_switches
    from simcvd.training.loop import Trainer
    from simcvd.training.setup import launch

    is_command()
    set_switches()
    data = Cache(cache)
    return Trainer(launch(), _run(data, how), data, folder)


def _run(data: Any, how: Training) -> Any:
    from simcvd.training.run import resolve

    return resolve(data, method="simcvd", labeled=how.labeled, settings=how.settings)


def _repeated(step: Callable[[], object], times: int, device: Any) -> Callable[[], None]:
    import torch

    def turn() -> None:
        for _ in range(times):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return turn


def prepared(source: Path, folder: Path, spacing: float | None) -> Path:
    """``source`` itself if it is a cache, else a cache of it in ``folder``."""
    if (source / "manifest.json").exists():
        return source
    from simcvd.data.prepare import prepare

    prepare(source, folder, spacing=(spacing,) if spacing else None, quiet=True)
    return folder


def print_lines(lines: Sequence[str]) -> None:
    """A table, and a line of nothing."""
    print("\n".join(lines), end="\n\n", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--spacing", type=float)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--labeled", type=int, default=8)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    given = parser.parse_args()
    how = Training(labeled=given.labeled, settings=tuple(given.settings), rounds=given.steps)
    with tempfile.TemporaryDirectory() as scratch:
        cache = prepared(given.source, Path(scratch) / "cache", given.spacing)
        print(machine())
        print_lines(rows_table([training_row(cache, how, "training step")]))
        print_lines(parts_table(training_parts(cache, how)))


if __name__ == "__main__":
    main()
