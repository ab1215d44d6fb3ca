"""What a change of a plan does to Dice and to the time, on scans that no training has a label of.

    python benchmarks/quick_plan.py CACHE PLAN DECATHLON OUT --name lr-0.003 --change lr=0.003

One training of the base and of ``--method`` on the first ``--labeled`` scans, as the changed plan
has it, then the last ``--scored`` scans of the training list are segmented and scored. Adds a line
to OUT/table.md. CACHE is of the data set in DECATHLON.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
from pathlib import Path

from simcvd.data.cache import Cache
from simcvd.scoring.record import read_report

HEAD = """| | method | seed | s to train | Dice [%] | changed |
|---|---|---|---|---|---|
"""


def changed(plan: str, changes: list[str]) -> str:
    """The text of a plan with other values of some of its fields."""
    for change in changes:
        field, value = change.split("=", 1)
        plan, found = re.subn(rf"(?m)^{field} = .*$", f"{field} = {value}", plan)
        if found != 1:
            sys.exit(f"{field} is no line of the plan")
    return plan


def simcvd(*arguments: object) -> float:
    """Run a command; processor seconds."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    subprocess.run([sys.executable, "-m", "simcvd.cli", *map(str, arguments)], check=True)
    return spent() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("cache", "plan", "decathlon", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--change", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--name", required=True)
    parser.add_argument("--method", default="supervised")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labeled", type=int, default=12)
    parser.add_argument("--scored", type=int, default=30)
    asked = parser.parse_args()
    out = asked.out / f"{asked.name}-{asked.method}-{asked.seed}"
    for folder in ("scans", "labels"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for scan in Cache(asked.cache).manifest.train[-asked.scored :]:
        for source, folder in (("imagesTr", "scans"), ("labelsTr", "labels")):
            path = out / folder / f"{scan}.nii.gz"
            path.unlink(missing_ok=True)
            path.symlink_to((asked.decathlon / source / path.name).absolute())
    plan = out / "plan.toml"
    plan.write_text(changed(asked.plan.read_text(encoding="utf-8"), asked.change))
    how = ("--method", asked.method, "--seed", asked.seed, "--labeled", asked.labeled)
    seconds = simcvd("train", asked.cache, *how, "--plan", plan, "--out", out / "run")
    simcvd("predict", out / "run", out / "scans", "--out", out / "predictions")
    simcvd("evaluate", out / "predictions", out / "labels", "--out", out / "scores")
    scores = read_report(out / "scores").scores
    dice = 100 * sum(score.values["dice"] for score in scores) / len(scores)
    table = asked.out / "table.md"
    if not table.exists():
        table.write_text(HEAD)
    what = ", ".join(f"`{change}`" for change in asked.change) or "nothing"
    with table.open("a") as file:
        name = f"| {asked.name} | {asked.method} | {asked.seed} "
        file.write(f"{name}| {seconds:.0f} | {dice:.2f} | {what} |\n")


if __name__ == "__main__":
    main()
