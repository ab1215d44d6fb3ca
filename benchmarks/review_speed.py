"""How long the review page's server takes over a 512 x 512 x 600 CT, and in how much memory.

    python benchmarks/review_speed.py > benchmarks/results/review/large-ct.md

About a minute, 1 GB on the disk and 0.6 GB of memory. Each address is asked over HTTP on this
machine by a client that throws the answer away. The browser's own time is not in it.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np
import uvicorn

from simcvd.formats import write_label
from simcvd.review.command import listen, settings
from simcvd.review.server import application

SHAPE = (512, 512, 600)
AFFINE = np.diag([-0.8, -0.8, 1.0, 1.0])
ADDRESSES = {
    "grid and layers": "/api/scan?case=ct",
    "the scan": "/volume/scan?case=ct",
    "the segmentation to draw on": "/drawing?case=ct&base=prediction",
}


def make_work(folder: Path, ending: str) -> Path:
    """A WORK folder with one scan, noise in an ellipse, and one segmentation of it."""
    work, images = folder / "work", folder / "images"
    for part in (work / "predictions", images / "images"):
        part.mkdir(parents=True)
    random, side = np.random.default_rng(0), np.linspace(-1, 1, SHAPE[0])
    body = side[:, None] ** 2 / 0.6 + side**2 / 0.4 < 1
    noise = random.normal(40, 25, (*SHAPE[:2], 8)).astype(np.int16)
    scan = np.empty(SHAPE, np.int16, order="F")
    for z in range(SHAPE[2]):
        scan[..., z] = np.where(body, noise[..., z % 8], -1000)
    nibabel.save(nibabel.Nifti1Image(scan, AFFINE), images / "images" / f"ct{ending}")
    label = np.zeros(SHAPE, np.uint8)
    label[180:330, 200:300, 250:350] = 1
    write_label(work / "predictions" / "ct.nii.gz", label, AFFINE)
    (work / "run.json").write_text(json.dumps({"images": str(images), "labels": None}))
    return work


@contextmanager
def served(work: Path) -> Iterator[int]:
    """The port of a server for ``work``."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = uvicorn.Server(settings(application(work, "token", "127.0.0.1", port)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


def ask(port: int, address: str) -> tuple[float, float, int]:
    """Seconds to the first byte and to the last, and bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    start = time.perf_counter()
    connection.request("GET", address, headers={"Cookie": f"simcvd-{port}=token"})
    answer = connection.getresponse()
    size = len(answer.read(1))
    first = time.perf_counter() - start
    while chunk := answer.read(1 << 20):
        size += len(chunk)
    return first, time.perf_counter() - start, size


def main() -> None:
    """Print a table."""
    print("| scan | asked for | first byte (s) | all (s) | MB |\n|---|---|---|---|---|")
    for ending in (".nii", ".nii.gz"):
        with tempfile.TemporaryDirectory() as folder:
            with ProcessPoolExecutor(1, get_context("spawn")) as other:  # its memory is not ours
                work = other.submit(make_work, Path(folder), ending).result()
            with served(work) as port:
                for what, address in ADDRESSES.items():
                    first, last, size = ask(port, address)
                    print(f"| {ending} | {what} | {first:.2f} | {last:.2f} | {size / 1e6:.1f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    load = os.getloadavg()[0]
    print(f"\nPeak memory {peak:.0f} MB, with the client; {os.cpu_count()} cores, load {load:.1f}.")


if __name__ == "__main__":
    main()
