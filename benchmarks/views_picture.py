"""A picture of the four views of Table V, drawn twice, on one slice of a phantom or of a scan.

    python benchmarks/views_picture.py --out docs/images/views.png
    python benchmarks/views_picture.py --out views.png --scan scan.nii.gz

What enters the documentation is drawn on the phantom.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from simcvd.data.crop import cropped
from simcvd.data.preprocess import to_network
from simcvd.demo.phantom import PhantomSettings, make_phantom
from simcvd.files import replace_into
from simcvd.formats import read_image
from simcvd.preprocessing import Preprocessing
from simcvd.transforms.painting import View, change_view
from simcvd.types import Volume

PATCH = (112, 112, 80)  # the left atrium's
PHANTOM = PhantomSettings(shape=(144, 144, 96), spacing=(0.8, 0.8, 1.0), noise=0.04)
SHADES = 24  # of grey; painted noise hardly compresses
VIEWS: tuple[View, ...] = get_args(View)


def patch_of(volume: Volume) -> Tensor:
    """The middle of a scan, ``[1, 1, X, Y, Z]``, normalised as for training."""
    scan = to_network(volume, Preprocessing())
    starts = (max((n - side) // 2, 0) for n, side in zip(scan.array.shape[1:], PATCH, strict=True))
    x, y, z = (slice(a, a + side) for a, side in zip(starts, PATCH, strict=True))
    return torch.from_numpy(cropped(scan, (x, y, z)).array[None, :1])


def draw(patch: Tensor, path: Path, seeds: tuple[int, ...]) -> None:
    """A column a view and a row a seed, of the patch's middle slice across Z."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(9.0, 1.83 * len(seeds) + 0.2), dpi=100)
    axes = figure.subplots(len(seeds), len(VIEWS), squeeze=False)
    low, high = np.quantile(patch.numpy(), (0.001, 0.999))
    for row, seed in zip(axes, seeds, strict=True):
        for place, view in zip(row, VIEWS, strict=True):
            torch.manual_seed(seed)
            shown = change_view(patch, view)[0, 0, :, :, patch.shape[-1] // 2]
            place.imshow(shown.T, cmap="gray", origin="lower", vmin=low, vmax=high)
            place.set_axis_off()
    for place, view in zip(axes[0], VIEWS, strict=True):
        place.set_title(view, fontsize=11)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.93, wspace=0.02, hspace=0.02)
    drawn = io.BytesIO()
    figure.savefig(drawn)
    with replace_into(path) as temporary:
        Image.open(drawn).convert("L").quantize(SHADES).save(temporary, optimize=True)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scan", type=Path, help="NIfTI, NRRD, MHA; by default a phantom")
    parser.add_argument("--seeds", type=int, nargs="+", default=[22, 7])
    arguments = parser.parse_args()
    scan = read_image(arguments.scan) if arguments.scan else make_phantom((0, 0), PHANTOM)[0]
    draw(patch_of(scan), arguments.out, tuple(arguments.seeds))


if __name__ == "__main__":
    main()
