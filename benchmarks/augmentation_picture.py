"""A picture of what each effect does to one slice of a phantom, with its label's outline.

    python benchmarks/augmentation_picture.py --out docs/images/augmentation.png

Each effect is drawn at the strong recipe's strength with its chance set to 1; "all" has the
recipe's own chances. The label is warped with the image.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simcvd.data.preprocess import canonical, to_network
from simcvd.demo.phantom import PhantomSettings, make_phantom
from simcvd.files import replace_into
from simcvd.preprocessing import Preprocessing
from simcvd.transforms.augment import STRONG, AugmentConfig
from simcvd.transforms.intensity import apply_intensity, draw_intensity
from simcvd.transforms.spatial import PLAIN, apply_geometry, draw_geometry

PATCH = (96, 96, 48)
PHANTOM = PhantomSettings(shape=(144, 144, 72), spacing=(1.0, 1.0, 1.5), noise=0.04)
SHADES = 24  # of grey; noise hardly compresses
EFFECTS = {
    "as it is": PLAIN,
    "affine": AugmentConfig(affine_chance=1.0),
    "elastic": AugmentConfig(elastic_chance=1.0, elastic=6.0),
    "gain, offset": AugmentConfig(contrast_chance=1.0),
    "gamma": AugmentConfig(gamma_chance=1.0),
    "noise": AugmentConfig(noise_chance=1.0),
    "blur": AugmentConfig(blur_chance=1.0),
    "low resolution": AugmentConfig(low_resolution_chance=1.0),
    "all": replace(STRONG, mirror=(0,)),
}


@lru_cache(maxsize=1)
def phantom() -> tuple[Tensor, Tensor]:
    """Image ``[1, X, Y, Z]``, prepared, and label ``[X, Y, Z]``."""
    scan, label = make_phantom((0, 0), PHANTOM)
    image = torch.from_numpy(to_network(scan, Preprocessing()).array[:1])
    return image, torch.from_numpy(canonical(label).array.copy())


def augmented(config: AugmentConfig, seed: int) -> tuple[Tensor, Tensor]:
    """The middle slices ``[X, Y]`` of image and label of the phantom's middle."""
    image, voxels = phantom()
    x, y, z = image.shape[1:]
    geometry = draw_geometry(
        np.random.default_rng(seed),
        (x, y, z),
        PATCH,
        "none",
        config,
        spacing=PHANTOM.spacing,
        centre=(x // 2, y // 2, z // 2),
    )
    torch.manual_seed(seed)
    patch = apply_geometry(image, geometry, PATCH, 0.0)[None]
    patch = apply_intensity(patch, draw_intensity(patch, config, PHANTOM.spacing))
    mask = apply_geometry(voxels, geometry, PATCH, 0, nearest=True)
    return patch[0, 0, :, :, PATCH[2] // 2], mask[:, :, PATCH[2] // 2]


def draw(path: Path, seeds: tuple[int, ...]) -> None:
    """A column an effect and a row a seed."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(1.4 * len(EFFECTS), 1.4 * len(seeds) + 0.25), dpi=100)
    axes = figure.subplots(len(seeds), len(EFFECTS), squeeze=False)
    low, high = np.quantile(augmented(PLAIN, 0)[0].numpy(), (0.001, 0.999))
    for row, seed in zip(axes, seeds, strict=True):
        for place, config in zip(row, EFFECTS.values(), strict=True):
            image, label = augmented(config, seed)
            place.imshow(image.T, cmap="gray", origin="lower", vmin=low, vmax=high)
            place.contour(label.T.numpy(), levels=[0.5], colors="white", linewidths=0.8)
            place.set_axis_off()
    for place, name in zip(axes[0], EFFECTS, strict=True):
        place.set_title(name, fontsize=10)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.93, wspace=0.02, hspace=0.02)
    drawn = io.BytesIO()
    figure.savefig(drawn)
    with replace_into(path) as temporary:
        Image.open(drawn).convert("L").quantize(SHADES).save(temporary, optimize=True)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    draw(arguments.out, tuple(arguments.seeds))


if __name__ == "__main__":
    main()
