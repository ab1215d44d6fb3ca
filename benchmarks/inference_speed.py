"""Sliding-window prediction beside the plain loop this field shares, on the same V-Net.

    python benchmarks/inference_speed.py [--cache CACHE] [--run RUN] [--stride X Y Z]
    python benchmarks/inference_speed.py --memory

Speed: one scan, the first of the cache's test list or noise of a left atrium's size, windows of
112 x 112 x 80; beside the plain loop, which runs one window at a time in float32 and contiguous
layout and adds to whole-scan maps of every class, and MONAI's sliding_window_inference with four
windows a batch. Memory: 512 x 512 x 800 voxels and
20 classes, a network that costs nothing, peak memory over what the process held before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_step import plain_layers
from rows import Row, Skipped, machine, rows_table
from torch import Tensor, nn
from turns import Side, in_turn, peak_of, row

from simcvd.data.cache import Cache
from simcvd.inference.compute import pick_device
from simcvd.inference.model import load_model
from simcvd.inference.openvino import OnOpenVINO
from simcvd.inference.sliding_window import Windows, predict_labels, sums_needed
from simcvd.machine import keep_freed_memory
from simcvd.networks.autocast import autocast_dtype
from simcvd.networks.fast.folding import folded
from simcvd.networks.vnet import VNet
from simcvd.types import IntTriple, Prediction

LA_SHAPE = (196, 148, 88)
PATCH = (112, 112, 80)
HALF = (56, 56, 40)
STRIDES = ((2, 2, 2),) * 4


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What is predicted and by which network.

    cache: its first test scan; None is noise of ``shape``. run: a trained model; None is a V-Net
    of random weights, whose classes are a toss-up nearly everywhere, with ``widths``.
    """

    cache: Path | None = None
    run: Path | None = None
    shape: IntTriple = LA_SHAPE
    patch: IntTriple = PATCH
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)

    def image(self) -> Tensor:
        """``[1, X, Y, Z]`` float32."""
        if self.cache is None:
            return torch.randn(1, *self.shape, generator=torch.Generator().manual_seed(0))
        data = Cache(self.cache)
        image = data.case((data.test or data.train)[0]).image[:1]
        return torch.from_numpy(image.astype(np.float32))

    def network(self) -> nn.Module:
        """The model's network, or one of random weights, on the device that is there."""
        device = pick_device()
        if self.run is not None:
            return load_model(self.run, device=device).network
        torch.manual_seed(0)
        n = len(self.widths)
        network = VNet(
            1, 2, widths=self.widths, blocks=(1, 2, 3, 3, 3)[:n], strides=STRIDES[: n - 1]
        )
        return network.eval().to(device)


def inference_rows(
    scan: Scan, stride: IntTriple, *, rounds: int = 2, apart: bool = True
) -> list[Row | Skipped]:
    """Ours beside the plain loop, MONAI, and ours in OpenVINO, in one run of turns."""
    recipes: dict[str, Any] = {"plain loop": (plain_loop, (scan, stride))}
    name = f"predict one scan, stride {' x '.join(map(str, stride))}"
    rows: list[Row | Skipped] = []
    if find_spec("monai"):
        recipes["MONAI sliding_window_inference"] = (monai_windows, (scan, stride))
    else:
        rows.append(Skipped(name=f"{name}, beside MONAI", reason="MONAI is not installed"))
    if find_spec("openvino") and pick_device().type == "cpu":
        recipes["ours in OpenVINO"] = (openvino_windows, (scan, stride))
    recipes["ours"] = (our_windows, (scan, stride))
    sides = in_turn(recipes, rounds=rounds, apart=apart)
    ours = sides.pop("ours")
    made = [row(name, other, ours, side, _agreement(ours, side)) for other, side in sides.items()]
    return [*made, *rows]


def _agreement(ours: Side, theirs: Side) -> str:
    """How many voxels differ, as a share of the reference's foreground."""
    foreground = np.count_nonzero(theirs.value)
    differ = np.count_nonzero(ours.value != theirs.value)
    shape = " x ".join(map(str, ours.value.shape))
    return f"{shape} voxels; differing {differ / max(foreground, 1):.4%} of the foreground"


def our_windows(scan: Scan, stride: IntTriple) -> Callable[[], np.ndarray]:
    """As `simcvd evaluate` runs them, and `simcvd predict` on a scan of this size."""
    network, image, device = folded(scan.network()), scan.image(), pick_device()
    dtype = autocast_dtype("auto", device)
    if device.type == "cpu":
        keep_freed_memory()
    how = Windows(patch=scan.patch, stride=stride, classes=2, device=device, autocast=dtype)
    return _one_of_many(lambda x: predict_labels(network, x, how).numpy(), image, scan.patch)


def openvino_windows(scan: Scan, stride: IntTriple) -> Callable[[], np.ndarray]:
    """As `simcvd predict --runtime openvino`."""
    image, dtype = scan.image(), autocast_dtype("auto", torch.device("cpu"))
    network = OnOpenVINO(scan.network(), (1, *scan.patch), dtype)
    how = Windows(patch=scan.patch, stride=stride, classes=2)
    return _one_of_many(lambda x: predict_labels(network, x, how).numpy(), image, scan.patch)


def _one_of_many(
    run: Callable[[Tensor], np.ndarray], image: Tensor, patch: IntTriple
) -> Callable[[], np.ndarray]:
    """``run`` of the scan, once four windows have made what a process makes only once."""
    x, y, z = patch
    run(image[:, : x + 1, : y + 1, :z])
    return lambda: run(image)


def plain_loop(scan: Scan, stride: IntTriple) -> Callable[[], np.ndarray]:
    """Labels as the published scripts compute them, one window after the other."""
    network, image = plain_layers(scan.network()), scan.image()
    return _one_of_many(lambda x: plain(network, x, scan.patch, stride, 2), image, scan.patch)


def plain(
    network: nn.Module, image: Tensor, patch: IntTriple, stride: IntTriple, classes: int
) -> np.ndarray:
    """One window a time, summed in numpy; a scan smaller than the patch is padded about it."""
    missing = [max(p - n, 0) for n, p in zip(image.shape[1:], patch, strict=True)]
    before = [m // 2 for m in missing]
    pads = [(0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True))]
    padded = torch.from_numpy(np.pad(image.numpy(), pads))
    shape, device = padded.shape[1:], next(network.parameters()).device
    total = np.zeros((classes, *shape), np.float32)
    count = np.zeros(shape, np.float32)
    ranges = [
        [min(i * s, n - p) for i in range(ceil((n - p) / s) + 1)]
        for n, p, s in zip(shape, patch, stride, strict=True)
    ]
    for start in product(*ranges):
        part = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        with torch.no_grad():
            probabilities = network(padded[(slice(None), *part)][None].to(device)).logits.softmax(1)
        total[(slice(None), *part)] += probabilities[0].cpu().numpy()
        count[part] += 1
    labels = np.argmax(total / count, 0)
    kept = tuple(slice(b, b + n) for b, n in zip(before, image.shape[1:], strict=True))
    return labels[kept]


def monai_windows(scan: Scan, stride: IntTriple) -> Callable[[], np.ndarray]:
    """MONAI's inferer; it truncates patch * (1 - overlap), so this overlap is the very stride."""
    from monai.inferers import sliding_window_inference

    network, image, device = plain_layers(scan.network()), scan.image(), pick_device()
    overlap = [max(1 - (s + 0.5) / p, 0.0) for s, p in zip(stride, scan.patch, strict=True)]

    def probabilities(x: Tensor) -> Tensor:
        return network(x).logits.softmax(1)

    def run(image: Tensor) -> np.ndarray:
        with torch.no_grad():
            mean = sliding_window_inference(
                image[None].to(device), scan.patch, 4, probabilities, overlap=overlap
            )
        return mean[0].argmax(0).cpu().numpy()

    return _one_of_many(run, image, scan.patch)


class NoCost(nn.Module):
    """Twenty classes, each the likeliest in its own range of intensities."""

    def forward(self, x: Tensor) -> Prediction:
        """``[B, 1, X, Y, Z]`` in [0, 1] to logits of 20 classes."""
        centres = torch.arange(20).reshape(1, 20, 1, 1, 1) / 19
        return Prediction(logits=(x - centres).square_().mul_(-100), distance=None, features=x)


def memory() -> None:
    """Print the peak memory of a large scan with 20 classes beside what was stated before."""
    shape = (512, 512, 800)
    image = torch.rand(1, *shape)
    status = Path("/proc/self/status")
    before = peak_of(status.read_text(encoding="utf-8"))
    how = Windows(patch=PATCH, stride=HALF, classes=20, tapered=True)  # as by default
    start = time.perf_counter()
    labels = predict_labels(NoCost(), image, how)
    added = peak_of(status.read_text(encoding="utf-8")) - before
    scan = image.numel() * 4
    print(f"{shape} voxels, 20 classes, {labels.unique().numel()} of them found")
    print(f"  all probabilities   {20 * scan / 1e9:6.2f} GB")
    print(f"  stated for the sums {sums_needed(shape, how) / 1e9:6.2f} GB")
    print(f"  peak over the scan  {added / 1e9:6.2f} GB (sums, one window of each step, labels)")
    print(f"  scan and that       {(scan + added) / 1e9:6.2f} GB; {2 * scan / 1e9 + 1:.2f} allowed")
    print(f"  {time.perf_counter() - start:.0f} s")


def main() -> None:
    """Read the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, default=LA_SHAPE)
    parser.add_argument("--stride", type=int, nargs=3, default=HALF)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    print(machine())
    if given.memory:
        memory()
        return
    scan = Scan(cache=given.cache, run=given.run, shape=tuple(given.shape))
    rows = inference_rows(scan, tuple(given.stride))
    print("\n".join(rows_table([row for row in rows if isinstance(row, Row)])))


if __name__ == "__main__":
    main()
