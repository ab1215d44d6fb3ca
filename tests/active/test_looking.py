"""How unsure models are of a scan, with worked numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.inference.tools import small_vnet, spec, threshold_model
from torch import Tensor, nn

from simcvd.active.looking import Pooling, disagreement, look, uncertainty
from simcvd.inference.compute import Compute
from simcvd.inference.model import Model
from simcvd.types import Prediction


class Given(nn.Module):
    """Answers with the class-1 probability that the scan holds; features are its intensities."""

    def forward(self, x: Tensor) -> Prediction:
        p = x.clamp(1e-6, 1 - 1e-6)
        return Prediction(logits=torch.cat([1 - p, p], 1).log(), distance=None, features=x)


def given_model() -> Model:
    return Model(network=Given(), spec=threshold_model().spec)


def bits(p: float) -> float:
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p))


def test_uncertainty_is_the_entropy_in_and_around_what_was_found() -> None:
    image = np.full((1, 16, 16, 16), 0.4, np.float32)  # undecided, but far from anything found
    image[:, 2:11, 2:11, 2:11] = 0.1
    image[:, 4:9, 4:9, 4:9] = 0.7
    seen = look(given_model(), image, Compute())
    inside, around = 5**3, 6 * 5**2
    wanted = (inside * bits(0.7) + around * bits(0.1)) / (inside + around)
    assert seen.uncertainty == pytest.approx(wanted, rel=1e-4)
    assert seen.found == inside
    assert seen.disagreement is None


def test_a_wider_background_changes_nothing() -> None:
    labels, entropy = np.zeros((6, 6, 6), np.uint8), np.full((6, 6, 6), 0.2, np.float32)
    labels[2:4, 2:4, 2:4], entropy[2:4, 2:4, 2:4] = 1, 0.8
    wide = [np.pad(a, 5, constant_values=v) for a, v in ((labels, 0), (entropy, 0.9))]
    assert uncertainty(labels, entropy) == uncertainty(*wide)
    assert uncertainty(labels, entropy) == pytest.approx((8 * 0.8 + 24 * 0.2) / 32)


def test_a_scan_in_which_nothing_was_found_is_as_uncertain_as_can_be() -> None:
    seen = look(given_model(), np.full((1, 8, 8, 8), 0.01, np.float32), Compute())
    assert (seen.uncertainty, seen.found) == (1.0, 0)


def test_disagreement_is_one_minus_dice_of_pairs_over_the_classes_of_either() -> None:
    a, b, c = (np.zeros(10, np.uint8) for _ in range(3))
    a[:4], b[2:6], c[:4] = 1, 1, 1
    a[8:], c[8:] = 2, 2
    # Dice of a and b: 2 * 2 / 8 of class 1, 0 of class 2; of a and c: 1; of b and c as of a and b.
    assert disagreement([a, b]) == pytest.approx(1 - 0.25)
    assert disagreement([a, b, c]) == pytest.approx(1 - (0.25 + 1 + 0.25) / 3)
    assert disagreement([a, c]) == 0
    assert disagreement([np.zeros(3, np.uint8)] * 2) == 0
    assert disagreement([a]) is None


def test_members_are_what_disagrees() -> None:
    model, image = given_model(), np.zeros((1, 8, 8, 8), np.float32)
    image[:, :4], image[:, 4:6] = 0.9, 0.6

    class Strict(Given):
        def forward(self, x: Tensor) -> Prediction:
            return super().forward(x - 0.2)

    strict = Model(network=Strict(), spec=model.spec)
    seen = look(model, image, Compute(), [model, strict])
    assert seen.disagreement == pytest.approx(1 - 2 * 4 / (6 + 4))
    assert seen.uncertainty == look(model, image, Compute()).uncertainty


def test_a_network_that_gives_no_features_has_none() -> None:
    class Bare(Given):
        def forward(self, x: Tensor) -> Prediction:
            return replace(super().forward(x), features=None)

    model = Model(network=Bare(), spec=given_model().spec)
    assert look(model, np.full((1, 8, 8, 8), 0.7, np.float32), Compute()).features == ()


def test_features_are_the_mean_of_the_deepest_map_over_all_windows() -> None:
    model = Model(network=small_vnet(), spec=spec())
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 24)).astype(np.float32)
    seen = look(model, image, Compute(stride=(8, 8, 8)))
    windows = torch.from_numpy(image).reshape(1, 8, 8, 3, 8).permute(3, 0, 1, 2, 4)
    with torch.inference_mode():
        wanted = model.network(windows).features.mean((0, 2, 3, 4))
    np.testing.assert_allclose(seen.features, wanted, rtol=1e-3, atol=1e-4)
    pooling = Pooling(model.network)
    with torch.inference_mode():
        for window in windows:
            pooling(window[None])
    np.testing.assert_allclose(pooling.mean, wanted, rtol=1e-5, atol=1e-6)
