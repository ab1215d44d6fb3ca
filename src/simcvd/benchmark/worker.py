"""What the process of one run does."""

from __future__ import annotations

import time
from pathlib import Path

from simcvd.benchmark.units import Unit, state, steps_done, write_record
from simcvd.data.cache import Cache
from simcvd.files import LOCK
from simcvd.locks import locked
from simcvd.training.loop import train
from simcvd.training.recipes import find_recipe
from simcvd.training.score_run import score_run
from simcvd.training.start import average_runs

LOCK_SECONDS = 24 * 3600.0  # to wait for a process that trains what this one needs


def work(unit: Unit, root: Path) -> None:
    """Train and score one run, or go on with it, what it needs first; do nothing if it is done.

    Raises SimcvdError for what training and scoring refuse, or if the run is taken.
    """
    for needed in unit.needed:
        work(needed, root)
    lock = unit.beside(LOCK)
    busy = (
        f"{lock}: another process works on this run; is the benchmark running twice? Let one end."
    )
    with locked(lock, busy, wait=LOCK_SECONDS):
        cache = Cache(root)
        if state(unit, cache) == "done":
            return
        write_record(unit, cache)
        print(_command(unit, root), flush=True)
        if unit.parts:
            average_runs([part.folder for part in unit.parts], unit.folder)
        else:
            train(
                root,
                unit.folder,
                method=unit.row.method,
                labeled=unit.labeled,
                settings=unit.settings,
                recipe=find_recipe(unit.protocol.recipe),
                init=[base.folder for base in unit.bases],
            )
        started = time.monotonic()
        score_run(
            unit.folder,
            split=unit.protocol.split_scored,
            stride=unit.protocol.stride,
            cache=root,
            quiet=True,
        )
        seconds = {"train": steps_done(unit)[1], "score": round(time.monotonic() - started, 3)}
        before = round(sum(steps_done(base)[1] for base in unit.bases), 3)
        write_record(unit, cache, seconds=seconds, seconds_of_bases=before)


def _command(unit: Unit, root: Path) -> str:
    """How the run is done by hand."""
    flags = " ".join(f"--set '{setting}'" for setting in unit.settings)
    stride = " ".join(map(str, unit.protocol.stride))
    start = "".join(f"--init {base.folder} " for base in unit.bases)
    made = (
        f"the mean of the weights of {' and '.join(str(p.folder) for p in unit.parts)}"
        if unit.parts
        else f"simcvd train {root} --method {unit.row.method} --labeled {unit.labeled} "
        f"--recipe {unit.protocol.recipe} {start}--out {unit.folder} {flags}"
    )
    return (
        f"{made}\n"
        f"simcvd evaluate {unit.folder} --split {unit.protocol.split_scored} --stride {stride}"
    )
