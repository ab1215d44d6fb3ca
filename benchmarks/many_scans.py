"""What a scan costs where there are thousands, on the workers of a Dask cluster of this machine.

    python benchmarks/many_scans.py [--scans 300 1000 3000 10000] [--out FOLDER]

Scans of 24 x 24 x 16 voxels are made up; `simcvd check`, `prepare` and `predict` go over them with
two workers, `prepare` and `predict` a second time, when there is nothing to do. Counted are the
processor's seconds, of the command and of the workers: they say the same on a busy machine. The
peak is the command's, which holds what grows with the scans. Writes as scaling.py does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import psutil
import torch
from distributed import LocalCluster
from scaling import Point, Series, write

from simcvd.inference.model import ModelSpec, save_model
from simcvd.networks.vnet import VNet
from simcvd.preprocessing import Preprocessing

SHAPE, PATCH = (24, 24, 16), (16, 16, 16)
NETWORK = {"channels": 1, "classes": 2, "widths": (4, 8), "blocks": (1, 1), "strides": ((2, 2, 2),)}


def write_scans(folder: Path, count: int) -> None:
    """Balls in noise, no two alike."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        centre = rng.uniform(7, 9, 3).reshape(3, 1, 1, 1)
        label = (((grid - centre) ** 2).sum(0) < 25).astype(np.uint8)
        image = (2 * label + rng.normal(0, 0.5, SHAPE)).astype(np.float32)
        for kind, array in (("images", image), ("labels", label)):
            path = folder / kind / f"scan_{index:05d}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def write_model(folder: Path) -> Path:
    """An untrained network: what it finds costs the same."""
    torch.manual_seed(0)
    spec = ModelSpec(
        network=dict(NETWORK),
        class_names={0: "background", 1: "ball"},
        label_values={0: 0, 1: 1},
        preprocessing=Preprocessing(normalization="zscore"),
        patch=PATCH,
        stride=(8, 8, 8),
        method="supervised",
        trained_on={},
    )
    save_model(folder, VNet(**NETWORK), spec)
    return folder


def command(cluster: LocalCluster, x: int, *arguments: object) -> Point:
    """A command on the cluster: seconds of the processor a scan, and its own peak."""
    before = worker_seconds(cluster)
    words = [sys.executable, "-m", "simcvd.cli", *map(str, arguments)]
    words.append(f"--workers={cluster.scheduler_address}")
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    pid = os.posix_spawn(sys.executable, words, os.environ, file_actions=quiet)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(words)}: ended with {status}")
    seconds = used.ru_utime + used.ru_stime + worker_seconds(cluster) - before
    return Point(x=x, seconds=seconds, peak=used.ru_maxrss * 1024)


def worker_seconds(cluster: LocalCluster) -> float:
    """Seconds of the processor that the workers have used."""
    times = [psutil.Process(worker.pid).cpu_times() for worker in cluster.workers.values()]
    return sum(time.user + time.system for time in times)


def measure(cluster: LocalCluster, counts: list[int], home: Path) -> list[Series]:
    """Each command at each count."""
    model = write_model(home / "model")
    points: dict[str, list[Point]] = {}
    for count in counts:
        folder = home / str(count)
        write_scans(folder / "scans", count)
        prepare = ("prepare", folder / "scans", "--out", folder / "cache")
        predict = ("predict", model, folder / "scans" / "images", "--out", folder / "out")
        for name, arguments in (
            ("check", ("check", folder / "scans")),
            ("prepare", prepare),
            ("prepare again", prepare),
            ("predict", predict),
            ("predict again", predict),
        ):
            points.setdefault(name, []).append(command(cluster, count, *arguments))
            print(f"{name}: {count} scans, {points[name][-1].seconds:.3g} s", flush=True)
        for kind in ("cache", "out"):
            print(f"{kind}: {sum(p.is_file() for p in (folder / kind).rglob('*'))} files")
    return [Series(name=name, unit="scans", points=tuple(made)) for name, made in points.items()]


def main() -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scans", type=int, nargs="+", default=[300, 1000, 3000, 10000])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/many-scans"))
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
    ):
        write(measure(cluster, given.scans, Path(scratch)), given.out)


if __name__ == "__main__":
    main()
