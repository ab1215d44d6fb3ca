"""Small networks and scans for the tests of inference."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import torch
from nibabel import orientations
from torch import Tensor, nn

from simcvd.inference.model import Model, ModelSpec
from simcvd.networks.vnet import VNet
from simcvd.preprocessing import Preprocessing
from simcvd.types import Prediction, Volume

SMALL = {"channels": 1, "classes": 3, "widths": (4, 8), "blocks": (1, 1), "strides": ((2, 2, 2),)}
ALL_48 = [
    np.array(list(zip(axes, flips, strict=True)))
    for axes in permutations(range(3))
    for flips in product((1, -1), repeat=3)
]
# A rotation of about 25 degrees and voxels of 0.9 x 1.1 x 2.5 mm.
OBLIQUE = np.array([[0.96, -0.28, 0.0], [0.224, 0.768, -0.6], [0.168, 0.576, 0.8]]) @ np.diag(
    [0.9, 1.1, 2.5]
)
OBLIQUE = np.block([[OBLIQUE, np.array([[-40.0], [7.0], [100.0]])], [np.eye(4)[3:]]])
# Sheared besides, as from a tilted gantry: no rotation and spacing describe it.
SHEARED = OBLIQUE + np.array([[0, 0, 0.5, 0], [0, 0, -0.4, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


class Threshold(nn.Module):
    """Class 1 where the scan is above 0.5: a network whose right answer is known."""

    def forward(self, x: Tensor) -> Prediction:
        logits = torch.cat([0.5 - x, x - 0.5], 1)
        return Prediction(logits=20 * logits, distance=None, features=x)


def small_vnet(seed: int = 0) -> VNet:
    torch.manual_seed(seed)
    network = VNet(**SMALL)
    # Fresh heads are so small that every class is near 1/3; larger ones give clear-cut masks.
    nn.init.normal_(network.class_head.weight, std=2.0)
    return network.eval()


def spec(**changes: object) -> ModelSpec:
    values: dict[str, object] = {
        "network": dict(SMALL),
        "class_names": {0: "background", 1: "wall", 2: "blood"},
        "label_values": {0: 0, 1: 420, 2: 600},
        "preprocessing": Preprocessing(normalization="zscore"),
        "patch": (8, 8, 8),
        "stride": (4, 4, 4),
        "method": "simcvd",
        "trained_on": {"data": "0123abcd"},
    }
    return ModelSpec(**{**values, **changes})  # type: ignore[arg-type]


def threshold_model(**preprocessing: object) -> Model:
    given = Preprocessing(**{"normalization": "none", **preprocessing})  # type: ignore[arg-type]
    description = spec(
        network={"channels": 1, "classes": 2},
        class_names={0: "background", 1: "object"},
        label_values={0: 0, 1: 255},
        preprocessing=given,
    )
    return Model(network=Threshold(), spec=description)


def blob(shape: tuple[int, int, int] = (18, 15, 12), seed: int = 0) -> np.ndarray:
    """A bumpy, lopsided object in [0, 1], as [1, X, Y, Z] float32: no two orientations agree."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    centre = np.array([0.2, -0.15, 0.1]).reshape(3, 1, 1, 1)
    size = np.array([0.7, 0.55, 0.6]).reshape(3, 1, 1, 1)
    radius = np.sqrt((((grid - centre) / size) ** 2).sum(0))
    return (1.0 - 0.5 * radius + rng.normal(0, 0.02, shape))[None].astype(np.float32)


def reoriented(volume: Volume, turn: np.ndarray) -> Volume:
    """The same scan in the world, its axes swapped and flipped as nibabel's ``turn`` says."""
    array = np.stack([orientations.apply_orientation(c, turn) for c in volume.array])
    affine = volume.affine @ orientations.inv_ornt_aff(turn, volume.array.shape[1:])
    return Volume(array=array, affine=affine)


def turned(labels: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """A label map [X, Y, Z] with its axes swapped and flipped in the same way."""
    return np.asarray(orientations.apply_orientation(labels, turn))
