"""What models make of one scan: how unsure they are of it, and where it lies among the others.

All of it on the prepared grid. Of a scan no more is held than its image, and a byte a voxel and
member with four more for the entropy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from simcvd.inference.compute import Compute
from simcvd.inference.model import Model
from simcvd.inference.sliding_window import (
    Windows,
    finished_blocks,
    most_probable,
    predict_labels,
)
from simcvd.metrics.overlap import dice
from simcvd.torch_state import left_as_found
from simcvd.types import Prediction


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One scan as the models see it.

    uncertainty: 0..1, see `uncertainty`. found: voxels of a foreground class. features: ``[E]``,
    see `Pooling`. disagreement: 0..1, see `disagreement`; None of fewer than two members.
    """

    uncertainty: float
    found: int
    features: tuple[float, ...]
    disagreement: float | None = None


@left_as_found()
def look(model: Model, image: np.ndarray, compute: Compute, members: Sequence[Model] = ()) -> Seen:
    """Run the model, and each of the members, over a prepared scan ``[C, X, Y, Z]``.

    members: models of the same classes that were trained on other parts of the labelled scans.
    Raises SimcvdError where a network's output is not finite.
    """
    scan = torch.from_numpy(image.astype(np.float32))
    pooling = Pooling(model.folded)
    labels, entropy = _maps(pooling, scan, compute.windows(model))
    guesses = [predict_labels(m.folded, scan, compute.windows(m)).numpy() for m in members]
    return Seen(
        uncertainty=uncertainty(labels, entropy),
        found=int(np.count_nonzero(labels)),
        features=tuple(pooling.mean.tolist()),
        disagreement=disagreement(guesses),
    )


class Pooling(nn.Module):
    """A network, and the mean of its deepest map over all positions of all windows it was given.

    Sener and Savarese, ICLR 2018, choose by distances between such features.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.total: Tensor | float = 0.0
        self.windows = 0

    def forward(self, x: Tensor) -> Prediction:
        """``[B, C, X, Y, Z]`` to what the network answers."""
        answer: Prediction = self.network(x)
        if answer.features is not None:
            self.total = self.total + answer.features.double().flatten(2).mean(2).sum(0)
            self.windows += len(x)
        return answer

    @property
    def mean(self) -> np.ndarray:
        """``[E]`` float64; ``[0]`` of a network that gives no such map."""
        if not self.windows:
            return np.zeros(0)
        return np.asarray(torch.as_tensor(self.total).cpu()) / self.windows


def _maps(network: nn.Module, scan: Tensor, how: Windows) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class and the entropy in 0..1 of every voxel, each ``[X, Y, Z]``."""
    labels = np.empty(scan.shape[1:], np.uint8)
    entropy = np.empty(scan.shape[1:], np.float32)
    for place, p in finished_blocks(network, scan, how):
        labels[place] = most_probable(p).cpu()
        entropy[place] = (torch.special.entr(p).sum(0) / math.log(how.classes)).cpu()
    return labels, entropy


def uncertainty(labels: np.ndarray, entropy: np.ndarray) -> float:
    """Mean entropy over the predicted structures and the voxels that touch them by a face.

    labels: ``[X, Y, Z]`` classes, 0 being background. entropy: ``[X, Y, Z]``, 1 where all classes
    are equally probable. So neither the size of a scan nor its background counts. 1 where no
    structure was found: nothing is known of that scan.
    """
    found = labels > 0
    if not found.any():
        return 1.0
    return float(entropy[ndimage.binary_dilation(found)].mean(dtype=np.float64))


def disagreement(guesses: Sequence[np.ndarray]) -> float | None:
    """1 minus the mean Dice of every two label maps ``[X, Y, Z]``, over the classes of either.

    0 where none has found anything, None of fewer than two.
    """
    if len(guesses) < 2:
        return None
    return 1 - fmean(_agreement(one, other) for one, other in combinations(guesses, 2))


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    classes = sorted({*np.unique(one), *np.unique(other)} - {0})
    return fmean(dice(one == k, other == k) for k in classes) if classes else 1.0
