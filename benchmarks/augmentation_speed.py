"""What augmentation costs, beside the training step it is for; docs/augmentation.md.

    python benchmarks/augmentation_speed.py [--sizes la-quarter la-published] [--threads 1]

A step is forward, backward and AdamW of the V-Net on 4 labelled patches, the shortest there is; the
strong recipe augments each of them. Costs are means over many steps, since every effect has a
chance. Seconds are CPU seconds of this process, which other programs disturb less than the clock;
with one thread the two are the same on a quiet machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from rows import machine
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from simcvd.files import write_text
from simcvd.machine import keep_freed_memory
from simcvd.networks.vnet import VNet
from simcvd.transforms import affine
from simcvd.transforms.affine import apply_warp, draw_warp, source_size
from simcvd.transforms.augment import STRONG, AugmentConfig
from simcvd.transforms.intensity import apply_intensity, draw_intensity
from simcvd.transforms.spatial import PLAIN, apply_geometry, draw_geometry
from simcvd.types import IntTriple

LABELED = 4
ONES = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A protocol's scans, patches and network. steps: so many are timed, and augmented."""

    scan: IntTriple
    patch: IntTriple
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    steps: tuple[int, int]


SIZES = {
    "la-quarter": Size(
        scan=(49, 37, 22),
        patch=(32, 32, 24),
        widths=(8, 16, 32, 64),
        blocks=(1, 2, 3, 3),
        steps=(15, 200),
    ),
    "la-published": Size(
        scan=(196, 148, 88),
        patch=(112, 112, 80),
        widths=(16, 32, 64, 128, 256),
        blocks=(1, 2, 3, 3, 3),
        steps=(1, 8),
    ),
}


class Scan:
    """Noise in the types in which prepared scans are kept."""

    def __init__(self, shape: IntTriple) -> None:
        self.image = torch.randn(1, *shape).half()
        self.label = (self.image[0] > 0).byte()
        self.distance = torch.rand(1, *shape).half()

    def cut(self, rng: np.random.Generator, patch: IntTriple, config: AugmentConfig) -> Tensor:
        """Image, label and distance map of one patch, as the sampler cuts them; the image."""
        x, y, z = self.image.shape[1:]
        geometry = draw_geometry(rng, (x, y, z), patch, "none", config)
        image = torch.empty(1, *patch).copy_(apply_geometry(self.image, geometry, patch, 0.0))
        label = apply_geometry(self.label, geometry, patch, 0, nearest=True)
        torch.empty(patch, dtype=torch.int64).copy_(label)
        torch.empty(1, *patch).copy_(apply_geometry(self.distance, geometry, patch, 1.0))
        return image


def seconds(job: Callable[[], object], times: int) -> list[float]:
    """CPU seconds of each of ``times`` calls, after one that is not counted."""
    job()
    taken = []
    for _ in range(times):
        start = time.process_time()
        job()
        taken.append(time.process_time() - start)
    return taken


def share_row(name: str, size: Size) -> str:
    """A step, and what cutting, warping and jittering its patches add to it."""
    torch.manual_seed(0)
    scan, streams = Scan(size.scan), map(np.random.default_rng, count())

    def cut(config: AugmentConfig) -> None:
        rng = next(streams)
        for _ in range(LABELED):
            scan.cut(rng, size.patch, config)

    image = torch.randn(LABELED, 1, *size.patch)
    plain = mean(seconds(lambda: cut(PLAIN), size.steps[1]))
    spatial = mean(seconds(lambda: cut(STRONG), size.steps[1])) - plain
    intensity = mean(
        seconds(lambda: apply_intensity(image, draw_intensity(image, STRONG)), size.steps[1])
    )
    step = median(seconds(training_step(image, size), size.steps[0]))
    added = spatial + intensity
    times = " | ".join(f"{1e3 * t:.1f}" for t in (step, plain, spatial, intensity))
    return f"| {name} | {times} | {added / step:.1%} |"


def training_step(image: Tensor, size: Size) -> Callable[[], object]:
    """Forward, backward and optimiser in float32."""
    strides = ((2, 2, 2),) * (len(size.widths) - 1)
    network = VNet(1, 2, widths=size.widths, blocks=size.blocks, strides=strides)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    image = image.contiguous(memory_format=torch.channels_last_3d)
    label = (image[:, 0] > 0).long()

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(image).logits, label).backward()
        optimizer.step()

    return step


def ways(patch: IntTriple) -> Iterator[tuple[str, Callable[[], object]]]:
    """Ways of reading one warped patch by linear interpolation."""
    warp = draw_warp(np.random.default_rng(1), AugmentConfig(affine_chance=1.0), patch, ONES)
    assert warp is not None
    source = torch.randn(source_size(warp, patch))

    def first() -> Tensor:
        affine._places.cache_clear()
        return apply_warp(source, warp, patch)

    yield "gathers, as simcvd does it", first
    yield "the same, for another map of that patch", lambda: apply_warp(source, warp, patch)
    matrix = np.array(warp.matrix)
    middle, half = ((np.array(s) - 1) / 2 for s in (source.shape, patch))
    offset = middle - matrix @ half
    yield (
        "scipy.ndimage.affine_transform, order 1",
        lambda: ndimage.affine_transform(source.numpy(), matrix, offset, patch, order=1),
    )
    # grid_sample counts axes from the last and places from -1 to 1 over the whole crop.
    theta = torch.from_numpy((matrix * half / middle[:, None])[::-1, ::-1].copy()).float()
    theta = torch.cat([theta, torch.zeros(3, 1)], 1)[None]

    def sampled() -> Tensor:
        grid = F.affine_grid(theta, [1, 1, *patch], align_corners=True)
        return F.grid_sample(source[None, None], grid, align_corners=True)

    agree = (sampled()[0, 0] - apply_warp(source, warp, patch)).abs().max()
    assert agree < 1e-3, "the ways must read the same patch"
    yield "torch affine_grid and grid_sample", sampled


def report(sizes: list[str]) -> str:
    """The tables as Markdown."""
    lines = [
        "# What augmentation costs",
        "",
        ", ".join(f"{name} {value}" for name, value in machine().items() if value),
        "",
        f"Milliseconds of CPU time a step of {LABELED} labelled patches, on "
        f"{torch.get_num_threads()} thread(s), in float32.",
        "",
        "| size | step | cutting, plain | + warps | + intensities | both, of a step |",
        "|---|---|---|---|---|---|",
        *(share_row(name, SIZES[name]) for name in sizes),
        "",
        "One patch of 112 x 112 x 80 voxels, linear interpolation; fastest of 7:",
        "",
        "| way | ms |",
        "|---|---|",
    ]
    for name, job in ways((112, 112, 80)):
        lines.append(f"| {name} | {1e3 * min(seconds(job, 7)):.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/augmentation/speed.md")
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    text = report(arguments.sizes)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
