"""A scan and the same scan re-oriented give the same mask in the world."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.inference.tools import (
    ALL_48,
    OBLIQUE,
    SHEARED,
    blob,
    reoriented,
    small_vnet,
    spec,
    threshold_model,
    turned,
)
from tests.whole import predict_probabilities, to_source

from simcvd.data.preprocess import to_network
from simcvd.inference.compute import Compute
from simcvd.inference.model import Model
from simcvd.inference.scan import predict_scan
from simcvd.inference.sliding_window import Windows
from simcvd.preprocessing import Preprocessing
from simcvd.types import Triple, Volume

PLAIN = np.diag([1.0, 1.2, 2.5, 1.0])


@pytest.mark.parametrize("turn", ALL_48, ids=lambda turn: "".join(f"{a:+d}" for a in turn @ [1, 0]))
def test_the_object_is_found_where_it_is_in_all_48_orientations(turn: np.ndarray) -> None:
    volume = reoriented(Volume(array=blob(), affine=SHEARED), turn)
    found = predict_scan(threshold_model(), volume)
    np.testing.assert_array_equal(found, 255 * (volume.array[0] > 0.5))
    assert 200 < (found == 255).sum() < found.size / 2


@pytest.mark.parametrize(
    "affine", [PLAIN, OBLIQUE, SHEARED], ids=["anisotropic", "oblique", "sheared"]
)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.5, 3.5)], ids=["finer", "coarser"])
def test_resampled_prediction_stays_on_the_object(affine: np.ndarray, spacing: Triple) -> None:
    volume = Volume(array=blob(), affine=affine)
    expected = predict_scan(threshold_model(spacing=spacing), volume)
    truth = volume.array[0] > 0.5
    overlap = 2 * (truth & (expected == 255)).sum() / (truth.sum() + (expected == 255).sum())
    assert overlap > 0.85  # an object of ten voxels across, and noise at its border
    for turn in ALL_48[5::6]:
        found = predict_scan(threshold_model(spacing=spacing), reoriented(volume, turn))
        np.testing.assert_array_equal(found, turned(expected, turn))


@pytest.mark.parametrize("spacing", [None, (1.3, 1.3, 2.0)], ids=["own grid", "resampled"])
def test_a_vnet_gives_the_same_mask_in_the_world(spacing: Triple | None) -> None:
    description = spec(preprocessing=Preprocessing(normalization="zscore", spacing=spacing))
    model = Model(network=small_vnet(), spec=description)
    volume = Volume(array=blob(), affine=OBLIQUE)
    expected = predict_scan(model, volume)
    assert len(np.unique(expected)) > 1
    for turn in ALL_48[3::9]:
        found = predict_scan(model, reoriented(volume, turn))
        np.testing.assert_array_equal(found, turned(expected, turn))


@pytest.mark.parametrize("shape", [(18, 15, 12), (9, 30, 40), (6, 7, 25)])
@pytest.mark.parametrize("spacing", [(0.7, 2.0, 1.9), (1.7, 0.9, 4.0)])
@pytest.mark.parametrize("turn", [ALL_48[0], ALL_48[29]], ids=["as is", "turned"])
def test_slab_by_slab_equals_resampling_everything_at_once(
    shape: tuple[int, int, int], spacing: Triple, turn: np.ndarray
) -> None:
    preprocessing = Preprocessing(normalization="zscore", spacing=spacing)
    model = Model(network=small_vnet(), spec=spec(preprocessing=preprocessing))
    volume = reoriented(Volume(array=blob(shape), affine=OBLIQUE), turn)
    scan = to_network(volume, preprocessing)
    image = torch.from_numpy(scan.array)
    how = Windows(patch=(8, 8, 8), stride=(4, 4, 4), classes=3, tapered=True)
    whole = predict_probabilities(model.network, image, how)
    x, y, z = volume.array.shape[1:]
    at_once = to_source(whole.numpy(), scan.affine, (x, y, z), volume.affine)
    values = np.array([0, 420, 600])
    found = predict_scan(model, volume, Compute(precision="float32"))
    np.testing.assert_array_equal(found, values[at_once])
