"""Signed distance maps against a loop over the definition."""

from __future__ import annotations

import numpy as np
import pytest

from simcvd.distance import signed_distance
from simcvd.types import SimcvdError


def by_loop(mask: np.ndarray) -> np.ndarray:
    """The definition of `signed_distance`, voxel by voxel."""
    inside, outside = np.argwhere(mask), np.argwhere(~mask)
    raw = np.zeros(mask.shape)
    for index in np.ndindex(mask.shape):
        other = outside if mask[index] else inside
        raw[index] = np.sqrt(((other - index) ** 2).sum(axis=1)).min()
    signed = np.where(mask, -raw / raw[mask].max(), raw / raw[~mask].max())
    for index in map(tuple, inside):
        for axis in range(3):
            for step in (-1, 1):
                near = list(index)
                near[axis] += step
                if 0 <= near[axis] < mask.shape[axis] and not mask[tuple(near)]:
                    signed[index] = 0
    return signed


@pytest.mark.parametrize("density", [0.02, 0.5, 0.95])
def test_equals_the_definition_on_random_masks(density: float) -> None:
    rng = np.random.default_rng(7)
    for shape in [(6, 5, 4), (1, 7, 3), (9, 4, 8)]:
        label = (rng.random(shape) < density).astype(np.uint8)
        label.flat[0], label.flat[-1] = 0, 1
        np.testing.assert_allclose(signed_distance(label, 2)[0], by_loop(label > 0), atol=1e-6)


def test_equals_the_definition_on_a_solid_that_touches_the_edge() -> None:
    label = np.zeros((12, 9, 8), np.int64)
    label[0:7, 2:9, 1:7] = 1
    np.testing.assert_allclose(signed_distance(label, 2)[0], by_loop(label > 0), atol=1e-6)


def test_worked_line() -> None:
    # One row: 2 outside, 5 inside up to the edge. Outside distances 2, 1; inside 1..5, of which
    # the first is the inner boundary.
    label = np.array([0, 0, 1, 1, 1, 1, 1], np.uint8).reshape(7, 1, 1)
    expected = [1, 0.5, 0, -0.4, -0.6, -0.8, -1]
    np.testing.assert_allclose(signed_distance(label, 2).ravel(), expected, atol=1e-7)


def test_each_class_against_the_rest() -> None:
    label = np.random.default_rng(1).integers(0, 4, (6, 6, 5))
    maps = signed_distance(label, 4)
    assert maps.shape == (3, 6, 6, 5)
    assert maps.dtype == np.float32
    for k in (1, 2, 3):
        np.testing.assert_allclose(maps[k - 1], by_loop(label == k), atol=1e-6)


def test_absent_class_is_all_outside_and_full_class_all_inside() -> None:
    maps = signed_distance(np.full((3, 4, 5), 2, np.uint8), 3)
    assert (maps[0] == 1).all()
    assert (maps[1] == -1).all()


@pytest.mark.parametrize("label", [np.zeros((4, 4), int), np.zeros((4, 4, 4), np.float32)])
def test_refuses_what_is_no_label_map(label: np.ndarray) -> None:
    with pytest.raises(SimcvdError, match="integers"):
        signed_distance(label, 2)


def test_refuses_one_class() -> None:
    with pytest.raises(SimcvdError, match="2 or more"):
        signed_distance(np.zeros((4, 4, 4), int), 1)
