"""Chooses the demo's size on some seeds and shows on others whether unlabelled scans help.

    taskset -c 0 python benchmarks/demo_gain.py FOLDER

Every candidate is run as `simcvd demo` runs, with the seeds of --tune; the one with the highest
mean gain of CutMix over the control is run once with the seeds of --show. Typed again, it goes on
where it was stopped. Writes FOLDER/gain.json and FOLDER/gain.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
from rows import machine

from simcvd.demo.command import FULL, METHOD, DemoSize, run_demo
from simcvd.demo.phantom import PhantomSettings
from simcvd.files import write_json, write_text
from simcvd.scoring.record import read_report
from simcvd.training.log import read_log
from simcvd.training.loop import BASE
from simcvd.training.run import CONTROL

# A third of the voxels, so that as much time holds twice the steps.
_SMALL = replace(FULL, patch=(24, 24, 24), base=700, control=850, method=600)
_SETTINGS = PhantomSettings(shape=(36, 36, 24), spacing=(2.7, 2.7, 4.0), variation=0.2)
CANDIDATES: Mapping[str, DemoSize] = {
    "as it is": FULL,
    "3 labels": replace(_SMALL, labeled=3, phantoms=_SETTINGS),
    "2 labels": replace(_SMALL, labeled=2, phantoms=_SETTINGS),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one demo: mean Dice in %, a miss counted as 0; seconds of its trainings."""

    candidate: str
    seed: int
    control: float
    method: float
    seconds: float

    @property
    def gain(self) -> float:
        """What the unlabelled scans brought."""
        return self.method - self.control


def outcome(candidate: str, seed: int, folder: Path) -> Outcome:
    """Run the demo, or go on with it."""
    out = folder / f"{candidate.replace(' ', '-')}-{seed}"
    run_demo(out, seed=seed, size=CANDIDATES[candidate])
    control, method = (
        100 * float(np.nan_to_num(read_report(out / name).table("dice")).mean())
        for name in (CONTROL, METHOD)
    )
    seconds = sum(read_log(out / name)[-1]["seconds"] for name in (BASE, CONTROL, METHOD))
    return Outcome(candidate=candidate, seed=seed, control=control, method=method, seconds=seconds)


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Markdown: a row a demo."""
    yield "| demo | seed | control | CutMix | gain | train s |"
    yield "|---|---:|---:|---:|---:|---:|"
    for o in outcomes:
        scores = f"{o.control:.2f} | {o.method:.2f} | {o.gain:+.2f}"
        yield f"| {o.candidate} | {o.seed} | {scores} | {o.seconds:.0f} |"


def main() -> None:
    """Tune, choose, show, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tune", type=int, nargs="+", default=[100, 101])
    parser.add_argument("--show", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    tuned = [outcome(name, seed, given.folder) for seed in given.tune for name in CANDIDATES]
    gains = {name: mean(o.gain for o in tuned if o.candidate == name) for name in CANDIDATES}
    best = max(gains, key=lambda name: gains[name])
    shown = [outcome(best, seed, given.folder) for seed in given.show]
    text = [
        "# What unlabelled scans bring in the demo",
        "",
        ", ".join(f"{key}: {value}" for key, value in machine().items()),
        "",
        "Seeds to choose on:",
        "",
        *lines(tuned),
        "",
        f'Chosen: "{best}". Other seeds, run once:',
        "",
        *lines(shown),
    ]
    record = {"tuned": [asdict(o) for o in tuned], "shown": [asdict(o) for o in shown]}
    write_json(given.folder / "gain.json", {"machine": machine(), "chosen": best, **record})
    write_text(given.folder / "gain.md", "\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
