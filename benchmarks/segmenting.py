"""Scans of a cache segmented one after another: how long each takes, and how well it fits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from simcvd.data.cache import Cache
from simcvd.inference.sliding_window import Windows, predict_labels
from simcvd.scoring.scores import score_case


def segmented(
    network: nn.Module, data: Cache, names: Sequence[str], how: Windows
) -> Iterator[tuple[float, float]]:
    """Of each scan, seconds of wall clock and the mean Dice over classes in %."""
    classes = {k: str(k) for k in range(1, how.classes)}
    for name in names:
        case = data.case(name)
        image = torch.from_numpy(case.image.astype(np.float32))
        start = time.perf_counter()
        labels = predict_labels(network, image, how).numpy()
        seconds = time.perf_counter() - start
        x, y, z = case.info.spacing
        scores = score_case(labels, np.asarray(case.label), classes, (x, y, z))
        yield seconds, 100 * float(np.nanmean([score.values["dice"] for score in scores]))
