"""Crop, turn and flip: what is reached, and that everything can be replayed."""

from __future__ import annotations

import numpy as np
import torch

from simcvd.transforms.intensity import draw_noise
from simcvd.transforms.spatial import Augmentation, Geometry, apply_geometry, draw_geometry

SQUARE = torch.arange(4.0).view(2, 2, 1)


def _poses(augmentation: Augmentation) -> dict[tuple[float, ...], int]:
    rng, seen = np.random.default_rng(0), dict[tuple[float, ...], int]()
    for _ in range(800):
        geometry = draw_geometry(rng, (2, 2, 1), (2, 2, 1), augmentation)
        key = tuple(apply_geometry(SQUARE, geometry, (2, 2, 1), 0).flatten().tolist())
        seen[key] = seen.get(key, 0) + 1
    return seen


def _mirrored(key: tuple[float, ...]) -> bool:
    """Whether the corner indices run the other way round than in the original."""
    a, b, c, d = key  # [[a, b], [c, d]]; the original goes 0, 1, 3, 2 around
    around = [a, b, d, c]
    start = around.index(0)
    return around[(start + 1) % 4] != 1


def test_published_augmentation_reaches_only_the_mirrored_poses() -> None:
    poses = _poses("published")
    assert len(poses) == 4
    assert all(map(_mirrored, poses))


def test_fixed_augmentation_reaches_all_eight_evenly() -> None:
    poses = _poses("fixed")
    assert len(poses) == 8
    assert sum(map(_mirrored, poses)) == 4
    assert min(poses.values()) > 60  # 100 expected, standard deviation 9.4


def test_without_augmentation_the_pose_stays() -> None:
    assert list(_poses("none")) == [(0.0, 1.0, 2.0, 3.0)]


def test_crop_is_the_named_box() -> None:
    volume = torch.arange(5 * 6 * 7.0).view(5, 6, 7)
    geometry = Geometry(start=(1, 2, 3), turns=0, flips=())
    crop = apply_geometry(volume, geometry, (2, 3, 4), 0)
    assert torch.equal(crop, volume[1:3, 2:5, 3:7])


def test_a_turned_patch_of_unequal_sides_keeps_its_size() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        geometry = draw_geometry(rng, (9, 8, 4), (6, 4, 2), "fixed")
        assert apply_geometry(torch.rand(1, 9, 8, 4), geometry, (6, 4, 2), 0).shape == (1, 6, 4, 2)


def test_a_small_scan_is_padded_on_both_sides() -> None:
    geometry = draw_geometry(np.random.default_rng(0), (2, 4, 4), (4, 4, 4), "none")
    patch = apply_geometry(torch.ones(2, 4, 4), geometry, (4, 4, 4), -7)
    assert patch[:, 0, 0].tolist() == [-7, 1, 1, -7]


def test_every_place_is_drawn() -> None:
    rng = np.random.default_rng(0)
    starts = {draw_geometry(rng, (6, 4, 4), (4, 4, 4), "none").start for _ in range(100)}
    assert starts == {(0, 0, 0), (1, 0, 0), (2, 0, 0)}


def test_noise_is_clipped_and_independent() -> None:
    torch.manual_seed(0)
    image = torch.zeros(1, 1, 20, 20, 20)
    first, second = draw_noise(image), draw_noise(image)
    assert first.abs().max() <= 0.2
    # Clipping a deviation of 0.1 at two deviations leaves sqrt(0.01 * 0.9206) = 0.0959.
    assert abs(first.std().item() - 0.0959) < 0.002
    assert abs((first * second).mean().item()) < 5e-4
