"""Preparing scans and starting up, beside a plain loop and a script that imports torch.

    python benchmarks/preparation_speed.py SCANS [--scans N]

The plain loop reads each scan with nibabel, scales it, computes its signed distance map with two
transforms of scipy over the whole scan, and saves all three; one process, one scan after another.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
from rows import Row, machine, rows_table
from turns import in_turn, peak_of, row

# Every interpreter below ends with this line in the run that takes its memory and not its time.
STATUS = "print(open('/proc/self/status', encoding='utf-8').read())"
HELP = "import sys; sys.argv = ['simcvd', '--help']; from simcvd.cli import main\ntry: main()\n"
HELP += "except SystemExit: pass\n"


def subset(source: Path, folder: Path, count: int) -> Path:
    """The first scans of ``source``, one of them its first for test, as links in two folders."""
    from simcvd.formats import suffix_of
    from simcvd.layouts.recognise import recognise

    found = recognise(source, None)
    test = found.test[:1]
    train = [name for name in found.train if name in found.cases][: count - len(test)]
    for name in (*train, *test):
        case = found.cases[name]
        for kind, path in (("images", case.images[0]), ("labels", case.label)):
            if path is not None:
                link = folder / kind / f"{name}{suffix_of(path)}"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path.resolve())
    (folder / "train.list").write_text("".join(f"{name}\n" for name in train), encoding="utf-8")
    (folder / "test.list").write_text("".join(f"{name}\n" for name in test), encoding="utf-8")
    return folder


def preparation_rows(scans: Path, cache: Path, *, apart: bool = True) -> list[Row]:
    """The first `prepare` of ``scans`` into ``cache``, which stays, and the second."""
    jobs = None if apart else 1
    with tempfile.TemporaryDirectory() as plain:
        theirs = in_turn({"plain": (plain_loop, (scans, Path(plain)))}, rounds=1, apart=apart)
    first = in_turn({"ours": (our_prepare, (scans, cache, jobs))}, rounds=1, apart=apart)
    second = in_turn({"ours": (our_prepare, (scans, cache, jobs))}, rounds=1, apart=apart)
    count = len(list((scans / "images").iterdir()))
    rows = [
        row(f"prepare {count} scans", "plain loop", first["ours"], theirs["plain"]),
        row(f"prepare {count} scans again", "plain loop", second["ours"], theirs["plain"]),
    ]
    # The work is done by other processes, whose time and memory are not seen from here.
    note = "peak without the processes that do the work"
    return [replace(made, cpu_ratio=None, note=note) for made in rows]


def our_prepare(scans: Path, cache: Path, jobs: int | None) -> Callable[[], None]:
    """`simcvd prepare`, on every core for ``jobs`` None."""
    from simcvd.data.prepare import prepare

    def run() -> None:
        prepare(scans, cache, jobs=jobs, quiet=True)

    return run


def plain_loop(scans: Path, out: Path) -> Callable[[], None]:
    """What a preparation script does, without a second core."""
    import nibabel
    from plain_step import plain_distance

    def run() -> None:
        for path in sorted((scans / "images").iterdir()):
            image = nibabel.load(path).get_fdata(dtype=np.float32)
            np.save(out / f"{path.name}.npy", (image - image.mean()) / image.std())
            label = scans / "labels" / path.name
            if label.exists():
                mask = (np.asarray(nibabel.load(label).dataobj) > 0).astype(np.uint8)
                np.save(out / f"{path.name}-label.npy", mask)
                np.save(out / f"{path.name}-distance.npy", plain_distance(mask))

    return run


def startup_rows(repeats: int = 5) -> list[Row]:
    """`simcvd --help` and `import simcvd`, each the least of several, beside `import torch`."""
    import_module("typer")  # a machine without it has no commands: the suite skips these rows
    torch = _started("import torch\n", repeats)
    jobs = {"simcvd --help": HELP, "import simcvd": "import simcvd\n"}
    rows = []
    for name, code in jobs.items():
        seconds, peak = _started(code, repeats)
        rows.append(
            Row(
                name=name,
                reference="import torch",
                seconds=seconds,
                reference_seconds=torch[0],
                cpu_ratio=None,
                peak=peak,
                reference_peak=torch[1],
                note=f"the interpreter's own start is in it; least of {repeats}",
            )
        )
    return rows


def _started(code: str, repeats: int) -> tuple[float, int]:
    """Wall seconds and peak bytes of a new interpreter that runs ``code``."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        _run(code)
        times.append(time.perf_counter() - start)
    return min(times), peak_of(_run(code + STATUS))


def _run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--scans", type=int, default=20)
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        scans = subset(given.source, Path(scratch) / "scans", given.scans)
        rows = preparation_rows(scans, Path(scratch) / "cache")
    print("\n".join(rows_table([*rows, *startup_rows()])))


if __name__ == "__main__":
    main()
