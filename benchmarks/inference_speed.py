"""Sliding-window prediction beside the plain loop this field shares, on the same V-Net.

    python benchmarks/inference_speed.py [--shape X Y Z] [--stride X Y Z]
    python benchmarks/inference_speed.py --memory

Speed: one LA-sized scan, windows of 112 x 112 x 80 at half a patch; the plain loop runs one window
at a time in float32 and contiguous layout and adds to whole-scan maps of every class. Both take
turns in this process; times are CPU seconds, so that other programs do not disturb the ratio.
About 2 minutes. Memory: 512 x 512 x 800 voxels and 20 classes, a network that costs nothing, peak
resident memory over what the process held before. About 10 minutes on 2 free cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from itertools import product
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn

from simcvd.inference.sliding_window import Windows, memory_needed, predict_labels
from simcvd.networks.autocast import autocast_dtype
from simcvd.networks.vnet import VNet
from simcvd.types import IntTriple, Prediction

PATCH = (112, 112, 80)
HALF = (56, 56, 40)


def plain(network: nn.Module, image: Tensor, stride: IntTriple, classes: int) -> np.ndarray:
    """Labels as the published scripts compute them, one window after the other."""
    shape = image.shape[1:]
    total = np.zeros((classes, *shape), np.float32)
    count = np.zeros(shape, np.float32)
    ranges = [
        [min(i * s, n - p) for i in range(ceil((n - p) / s) + 1)]
        for n, p, s in zip(shape, PATCH, stride, strict=True)
    ]
    for x, y, z in product(*ranges):
        part = slice(x, x + PATCH[0]), slice(y, y + PATCH[1]), slice(z, z + PATCH[2])
        with torch.no_grad():
            probabilities = network(image[(slice(None), *part)][None]).logits.softmax(1)
        total[(slice(None), *part)] += probabilities[0].numpy()
        count[part] += 1
    return np.argmax(total / count, 0)


def cpu_seconds(run: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """CPU seconds, wall seconds and the result of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = run()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def speed(shape: IntTriple, stride: IntTriple, rounds: int = 2) -> None:
    """Print both times and their ratio; the label maps must agree."""
    torch.manual_seed(0)
    network = VNet(1, 2).eval()
    ours = VNet(1, 2).eval()
    ours.load_state_dict(network.state_dict())
    ours = ours.to(memory_format=torch.channels_last_3d)
    image = torch.randn(1, *shape)
    dtype = autocast_dtype("auto", torch.device("cpu"))

    def fast() -> np.ndarray:
        how = Windows(patch=PATCH, stride=stride, classes=2, autocast=dtype)
        return predict_labels(ours, image, how).numpy()

    best = {"plain": (np.inf, np.inf), "simcvd": (np.inf, np.inf)}
    for _ in range(rounds):
        *slow_time, expected = cpu_seconds(lambda: plain(network, image, stride, 2))
        *fast_time, found = cpu_seconds(fast)
        best["plain"] = min(best["plain"], tuple(slow_time))
        best["simcvd"] = min(best["simcvd"], tuple(fast_time))
    print(f"{shape} voxels, stride {stride}, precision {dtype or torch.float32}")
    for name, (cpu, wall) in best.items():
        print(f"  {name:7s} {cpu:7.1f} CPU s  {wall:7.1f} s")
    print(f"  ratio   {best['plain'][0] / best['simcvd'][0]:7.2f}")
    print(f"  voxels of the same class: {100 * (found == expected).mean():.4f} %")


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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    how = Windows(patch=PATCH, stride=HALF, classes=20)
    start = time.perf_counter()
    labels = predict_labels(NoCost(), image, how)
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    scan = image.numel() * 4
    print(f"{shape} voxels, 20 classes, {labels.unique().numel()} of them found")
    print(f"  all probabilities   {20 * scan / 1e9:6.2f} GB")
    print(f"  stated for the sums {memory_needed(shape, how) / 1e9:6.2f} GB")
    print(f"  peak over the scan  {added / 1e9:6.2f} GB (sums, one window of each step, labels)")
    print(f"  scan and that       {(scan + added) / 1e9:6.2f} GB; {2 * scan / 1e9 + 1:.2f} allowed")
    print(f"  {time.perf_counter() - start:.0f} s")


def main() -> None:
    """Read the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(196, 148, 88))
    parser.add_argument("--stride", type=int, nargs=3, default=HALF)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, torch {torch.__version__}")
    if given.memory:
        memory()
    else:
        speed(tuple(given.shape), tuple(given.stride))


if __name__ == "__main__":
    main()
