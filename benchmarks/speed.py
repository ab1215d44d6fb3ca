"""The speed suite: every row beside a plain reference measured in the same run.

    python benchmarks/speed.py SCANS [--out FOLDER] [--run RUN] [--scans N]
    python benchmarks/speed.py CACHE [--half CACHE] [--run RUN] [--out FOLDER]
    python benchmarks/speed.py SCANS --quick

SCANS is a folder of scans as `simcvd prepare` takes it; with a prepared CACHE nothing is read but
that, so that it runs offline. Writes FOLDER/speed.json and FOLDER/speed.md. docs/speed.md says what
each row means. --quick: a few scans, a tiny network and one turn each; it tests the suite, and its
figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inference_speed import HALF, PATCH, Scan, inference_rows
from metrics_speed import SHAPE, all_metrics_rows, hd95_rows
from preparation_speed import preparation_rows, startup_rows, subset
from rows import Parts, Row, Skipped, machine, parts_table, rows_table
from training_speed import TINY, Training, prepared, training_parts, training_row

from simcvd.files import write_text
from simcvd.types import IntTriple

PUBLISHED = (18, 18, 4)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured; the defaults are the whole suite.

    mask: shape of the large 95HD. starts: interpreters started for a row. apart: see `in_turn`.
    """

    training: Training = field(default_factory=Training)
    patch: IntTriple = PATCH
    strides: tuple[IntTriple, ...] = (PUBLISHED, HALF)
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    mask: IntTriple = SHAPE
    starts: int = 7
    apart: bool = True


QUICK = Size(
    training=Training(labeled=2, settings=TINY, warmup=1, rounds=1, apart=False),
    patch=(16, 16, 16),
    strides=((16, 16, 16),),
    widths=(4, 8),
    mask=(48, 48, 24),
    starts=1,
    apart=False,
)
# A thousand steps, and enough of the plain ones.
GPU = Training(rounds=20, ours=50, plain=2)


class Suite:
    """Collects rows as they are measured and prints each."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.skipped: list[Skipped] = []
        self.parts: dict[str, Parts] = {}

    def add(self, name: str, measure: Callable[[], list[Row | Skipped]]) -> None:
        """Measure; a row that needs a package which is not there is skipped with the reason."""
        try:
            found = measure()
        except ImportError as error:
            found = [Skipped(name=name, reason=f"{error.name} is not installed")]
        for row in found:
            if isinstance(row, Row):
                self.rows.append(row)
                print(f"{row.name}: {row.ratio:.2f} times {row.reference}", flush=True)
            else:
                self.skip(row.name, row.reason)

    def skip(self, name: str, reason: str) -> None:
        """Note what was not measured."""
        self.skipped.append(Skipped(name=name, reason=reason))
        print(f"{name}: skipped, {reason}", flush=True)

    def write(self, out: Path, started: float) -> None:
        """The JSON and the Markdown table."""
        about = {**machine(), "minutes": round((time.monotonic() - started) / 60, 1)}
        content = {
            "machine": about,
            "rows": [{**asdict(row), "ratio": row.ratio} for row in self.rows],
            "skipped": [asdict(row) for row in self.skipped],
            "parts": {name: asdict(parts) for name, parts in self.parts.items()},
        }
        write_text(out / "speed.json", json.dumps(content, indent=1) + "\n")
        write_text(out / "speed.md", "\n".join(self._markdown(about)) + "\n")

    def _markdown(self, about: dict[str, Any]) -> list[str]:
        lines = ["# Speed", "", ", ".join(f"{k} {v}" for k, v in about.items()), ""]
        lines += rows_table(self.rows)
        for name, parts in self.parts.items():
            lines += ["", f"## Where the time of a step goes: {name}", "", *parts_table(parts)]
        if self.skipped:
            lines += ["", "## Not measured", ""]
            lines += [f"- {row.name}: {row.reason}" for row in self.skipped]
        return lines


def run(source: Path, half: Path | None, model: Path | None, scans: int, size: Size) -> Suite:
    """The whole suite over ``source``, a folder of scans or a cache."""
    suite = Suite()
    with tempfile.TemporaryDirectory() as scratch:
        cache, half = _data(suite, source, half, scans, size, Path(scratch))
        _training(suite, {"full resolution": cache, "half resolution": half}, size)
        scan = Scan(cache=cache, run=model, patch=size.patch, widths=size.widths)
        for stride in size.strides:
            suite.add("predict", lambda s=stride: inference_rows(scan, s, apart=size.apart))
        suite.add("all metrics", lambda: all_metrics_rows(_label(cache), "", apart=size.apart))
    suite.add("95HD", lambda: hd95_rows(size.mask, apart=size.apart))
    suite.add("start-up", lambda: list(startup_rows(size.starts)))
    return suite


def _data(
    suite: Suite, source: Path, half: Path | None, scans: int, size: Size, scratch: Path
) -> tuple[Path, Path | None]:
    """The caches at full and at half resolution; measures preparing where there are scans."""
    if (source / "manifest.json").exists():
        suite.skip("prepare", "a prepared cache was given, no scans")
        return source, half
    few, cache = subset(source, scratch / "scans", scans), scratch / "cache"
    suite.add("prepare", lambda: list(preparation_rows(few, cache, apart=size.apart)))
    if half is None and size.apart:
        from simcvd.data.cache import Cache

        half = prepared(few, scratch / "half", 2 * Cache(cache).manifest.spacing[0])
    return cache, half


def _training(suite: Suite, caches: dict[str, Path | None], size: Size) -> None:
    import torch

    gpu = torch.cuda.is_available()
    how = GPU if gpu and size.apart else size.training
    for name, cache in caches.items():
        title = f"training step, SimCVD, {name}"
        if cache is None:
            suite.skip(title, "no cache at this resolution: give --half, or a folder of scans")
            continue
        suite.add(title, lambda c=cache, t=title: [training_row(c, how, t)])
        suite.parts[name] = training_parts(cache, how)
    if not gpu:
        suite.skip("training and prediction on a GPU", "torch sees no GPU on this machine")


def _label(cache: Path) -> Any:
    """The first foreground class of the first test scan, or of the first labelled one."""
    import numpy as np

    from simcvd.data.cache import Cache

    data = Cache(cache)
    names = [name for name in (*data.test, *data.train) if data.manifest.cases[name].has_label]
    return np.asarray(data.case(names[0]).label) == 1


def main() -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/speed"))
    parser.add_argument("--half", type=Path, help="a cache at half the resolution")
    parser.add_argument("--run", type=Path, help="a trained model to predict with")
    parser.add_argument("--scans", type=int, default=20, help="how many scans are prepared")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    size = QUICK if given.quick else Size()
    scans = min(given.scans, 6) if given.quick else given.scans
    started = time.monotonic()
    suite = run(given.source, given.half, given.run, scans, size)
    suite.write(given.out, started)
    print(f"{given.out / 'speed.md'}")


if __name__ == "__main__":
    main()
