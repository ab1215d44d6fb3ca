"""Copy what a scored run says about itself, without weights, scans or this machine's paths.

    python benchmarks/collect.py RUN [RUN ...] --out benchmarks/results/NAME
    python benchmarks/collect.py --grid RESULTS --out benchmarks/results/NAME

Takes config.json, log.csv and metrics.json of each run, and of its held-out split; of a
grid, what `simcvd benchmark --only-tables` needs to make the tables again, and the tables. The
runs are packed into the study's archive, in which the tables find them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from simcvd.benchmark.archive import pack

COPIED = ("log.csv",)


def without_paths(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the cache's folder reduced to its name."""
    return {**record, "cache": Path(record["cache"]).name}


def collect(run: Path, out: Path) -> None:
    """The records of one run into ``out/<name of the run>``."""
    folders = [run, *(f for f in (run / "holdout",) if f.is_dir())]
    for folder in folders:
        target = out / run.name / folder.relative_to(run)
        target.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            if (folder / name).exists():
                shutil.copy(folder / name, target / name)
        if (folder / "metrics.json").exists():
            metrics = json.loads((folder / "metrics.json").read_text())
            metrics["info"]["config"] = without_paths(metrics["info"]["config"])
            (target / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    config = without_paths(json.loads((run / "config.json").read_text()))
    (out / run.name / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def collect_grid(results: Path, out: Path) -> None:
    """The scored runs of a benchmark, what each was asked for, and the tables."""
    for record in sorted((results / "runs").glob("*.json")):
        run = record.with_suffix("")
        if (run / "metrics.json").exists() or (run / "holdout" / "metrics.json").exists():
            collect(run, out / "runs")
            shutil.copy(record, out / "runs" / record.name)
    shutil.copy(results / "protocol.json", out / "protocol.json")
    shutil.copytree(results / "tables", out / "tables", dirs_exist_ok=True)


def main() -> None:
    """Collect every run named, or a grid."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--grid", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for run in arguments.runs:
        collect(run, arguments.out)
    names = [run.name for run in arguments.runs]
    if arguments.grid:
        collect_grid(arguments.grid, arguments.out)
        names.append("runs")
    pack(arguments.out, names)


if __name__ == "__main__":
    main()
