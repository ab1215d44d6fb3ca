"""Copy what a scored run says about itself, without weights, scans or this machine's paths.

    python benchmarks/collect.py RUN [RUN ...] --out benchmarks/results/NAME

Takes config.json, log.csv and metrics.{csv,json,md} of each run, and of its held-out split.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

COPIED = ("log.csv", "metrics.csv", "metrics.md")


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


def main() -> None:
    """Collect every run named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for run in arguments.runs:
        collect(run, arguments.out)


if __name__ == "__main__":
    main()
