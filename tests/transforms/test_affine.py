"""Warps: where voxels land in millimetres, and that image, label and distance move as one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from simcvd.transforms.affine import (
    CONTROLS,
    IDENTITY,
    INTERVALS,
    Warp,
    apply_warp,
    draw_warp,
    matrix_of,
    source_size,
)
from simcvd.transforms.augment import AugmentConfig
from simcvd.transforms.spatial import Geometry, apply_geometry, draw_geometry
from simcvd.types import IntTriple, Triple

ONES = (1.0, 1.0, 1.0)
ALWAYS = AugmentConfig(affine_chance=1.0)


def _moved(warp: Warp, place: IntTriple, patch: IntTriple, source: IntTriple) -> tuple[int, ...]:
    """Where in the patch the voxel at ``place`` of the source lands."""
    volume = torch.zeros(source)
    volume[place] = 1
    out = apply_warp(volume, warp, patch)
    assert out.max() > 0.999
    return tuple(int(i) for i in (out == out.max()).nonzero()[0])


@pytest.mark.parametrize(
    ("degrees", "before", "after"),
    [
        # From the centre (5, 5, 5): right-handed, X to Y, Y to Z, Z to X.
        ((0.0, 0.0, 90.0), (8, 5, 5), (5, 8, 5)),
        ((90.0, 0.0, 0.0), (5, 8, 5), (5, 5, 8)),
        ((0.0, 90.0, 0.0), (5, 5, 8), (8, 5, 5)),
        ((0.0, 0.0, 180.0), (8, 6, 5), (2, 4, 5)),
        ((0.0, 0.0, 36.87), (10, 5, 5), (9, 8, 5)),  # 5 at an angle of 3-4-5 gives (4, 3)
    ],
)
def test_a_voxel_lands_where_the_rotation_says(
    degrees: Triple, before: IntTriple, after: IntTriple
) -> None:
    warp = Warp(matrix=matrix_of(degrees, ONES, ONES))
    assert _moved(warp, before, (11, 11, 11), (11, 11, 11)) == after


def test_rotation_is_in_millimetres() -> None:
    """Voxels of 1 x 2 x 1 mm: 6 mm along X are 6 voxels there and 3 along Y."""
    warp = Warp(matrix=matrix_of((0, 0, 90), ONES, (1.0, 2.0, 1.0)))
    source = source_size(warp, (21, 21, 5))
    assert source == (41, 21, 5)  # the patch is 40 mm along Y, which is read along X
    assert _moved(warp, (26, 10, 2), (21, 21, 5), source) == (10, 13, 2)


def test_scaling_enlarges_about_the_centre() -> None:
    warp = Warp(matrix=matrix_of((0, 0, 0), (1.5, 1.5, 1.0), ONES))
    volume = torch.zeros(13, 13, 3)
    volume[8, 6, 1] = 1  # two voxels from the centre along X
    out = apply_warp(volume, warp, (13, 13, 3))
    assert out[9, 6, 1] == pytest.approx(1)  # now three
    assert source_size(warp, (13, 13, 3)) == (13, 13, 3)  # nothing beyond the patch is read
    shrunk = Warp(matrix=matrix_of((0, 0, 0), (0.75, 0.75, 1.0), ONES))
    assert source_size(shrunk, (13, 13, 3)) == (17, 17, 3)  # 6 voxels become 8


def test_identity_is_exact() -> None:
    volume = torch.rand(2, 6, 5, 4)
    assert torch.equal(apply_warp(volume, Warp(), (6, 5, 4)), volume)
    still = Warp(elastic=(0.0,) * (3 * CONTROLS**3))
    torch.testing.assert_close(apply_warp(volume, still, (6, 5, 4)), volume, atol=1e-5, rtol=0)


@pytest.mark.parametrize("patch", [(12, 10, 8), (11, 9, 8), (16, 16, 1)])
def test_agrees_with_scipy(patch: IntTriple) -> None:
    """The same matrix about the same centre, by ndimage.affine_transform of orders 1 and 0."""
    spacing = (1.0, 1.0, 1.5)
    rng = np.random.default_rng(0)
    for _ in range(4):
        warp = draw_warp(rng, ALWAYS, patch, spacing)
        assert warp is not None
        size = source_size(warp, patch)
        volume = rng.random(size).astype(np.float32)
        matrix = np.array(warp.matrix)
        offset = (np.array(size) - 1) / 2 - matrix @ ((np.array(patch) - 1) / 2)
        ours = apply_warp(torch.from_numpy(volume), warp, patch).numpy()
        theirs = ndimage.affine_transform(volume, matrix, offset, patch, order=1, mode="nearest")
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
        label = (volume * 5).astype(np.uint8)
        ours = apply_warp(torch.from_numpy(label), warp, patch, nearest=True).numpy()
        theirs = ndimage.affine_transform(label, matrix, offset, patch, order=0, mode="nearest")
        assert (ours != theirs).mean() < 0.002  # places half way between two voxels


def test_a_deformation_agrees_with_a_slow_loop() -> None:
    patch = (9, 8, 7)
    config = AugmentConfig(affine_chance=1.0, elastic_chance=1.0, elastic=1.0)
    warp = draw_warp(np.random.default_rng(3), config, patch, ONES)
    assert warp is not None
    size = source_size(warp, patch)
    volume = torch.rand(size)
    points = np.reshape(warp.elastic, (3, CONTROLS, CONTROLS, CONTROLS))
    out = apply_warp(volume, warp, patch)

    def basis(n: int, length: int) -> np.ndarray:
        t = n / (length - 1) * INTERVALS - (np.arange(CONTROLS) - 1)
        return np.array([_cubic(abs(x)) for x in t])

    for place in [(0, 0, 0), (8, 7, 6), (3, 4, 5), (7, 1, 2)]:
        x, y, z = (basis(n, length) for n, length in zip(place, patch, strict=True))
        bend = np.einsum("aijk,i,j,k->a", points, x, y, z)
        centred = np.array(place) - (np.array(patch) - 1) / 2
        where = np.array(warp.matrix) @ centred + bend + (np.array(size) - 1) / 2
        expected = ndimage.map_coordinates(volume.numpy(), where[:, None], order=1)[0]
        assert out[place].item() == pytest.approx(expected, abs=2e-5)


def _cubic(t: float) -> float:
    """The uniform cubic B-spline at distance ``t`` from its middle."""
    if t < 1:
        return (4 - 6 * t**2 + 3 * t**3) / 6
    return max(2 - t, 0.0) ** 3 / 6


def test_a_deformation_never_folds() -> None:
    """However strong it is asked to be, neighbouring voxels keep their order along each axis."""
    config = AugmentConfig(elastic_chance=1.0, elastic=1000.0)
    patch = (24, 20, 16)
    warp = draw_warp(np.random.default_rng(0), config, patch, ONES)
    assert warp is not None
    size = source_size(warp, patch)
    for axis, n in enumerate(size):
        ramp = torch.arange(n, dtype=torch.float32)
        shape = [1, 1, 1]
        shape[axis] = n
        where = apply_warp(ramp.view(shape).expand(size), warp, patch)
        assert where.diff(dim=axis).min() > 0


def test_label_and_distance_move_with_the_image() -> None:
    """All three hold the same field; what is above a half in the image is the label's class."""
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (40, 40, 30)), indexing="ij")
    field = (x + 0.3 * y) * (1 - z) + 0.05
    patch = (24, 24, 16)
    rng = np.random.default_rng(0)
    for _ in range(5):
        middle = (20, 20, 15)  # so that nothing beyond the scan is read
        geometry = draw_geometry(rng, (40, 40, 30), patch, "fixed", ALWAYS, centre=middle)
        image = apply_geometry(field[None], geometry, patch, 0.0)[0]
        distance = apply_geometry(field[None].half(), geometry, patch, 1.0)[0]
        label = apply_geometry((field > 0).byte(), geometry, patch, 0, nearest=True)
        torch.testing.assert_close(image, distance, atol=2e-3, rtol=0)
        sure = image.abs() > 0.15  # one voxel's step of the field
        assert torch.equal(label[sure].bool(), image[sure] > 0)
        assert sure.float().mean() > 0.5


def test_corners_show_the_scan_where_it_has_it_and_the_fill_beyond() -> None:
    warp = Warp(matrix=matrix_of((0, 0, 45), ONES, ONES))
    ones = torch.ones(1, 30, 30, 4)
    inside = Geometry(start=(10, 10, 0), turns=0, flips=(), warp=warp)
    torch.testing.assert_close(
        apply_geometry(ones, inside, (10, 10, 4), 7.0), torch.ones(1, 10, 10, 4)
    )
    corner = Geometry(start=(0, 0, 0), turns=0, flips=(), warp=warp)
    out = apply_geometry(ones, corner, (10, 10, 4), 7.0)
    # The patch's corner lies 6.4 voxels from its centre, along X, which ends after 4.5.
    assert out[0, 0, 0, 0] == 7
    assert out[0, 5, 5, 0] == 1


def test_only_axes_that_are_alike_are_turned_and_scaled() -> None:
    """ACDC, 1.5 x 1.5 x 10 mm: a turn about Z alone, and no scaling across its slices."""
    rng = np.random.default_rng(0)
    for patch, spacing in [((128, 128, 8), (1.5, 1.5, 10.0)), ((64, 64, 64), (1.0, 1.0, 3.0))]:
        for _ in range(20):
            warp = draw_warp(rng, ALWAYS, patch, spacing)
            assert warp is not None
            assert warp.matrix[2] == IDENTITY[2]
            assert warp.matrix[0][2] == warp.matrix[1][2] == 0
            assert abs(warp.matrix[0][1]) > 0
    sagittal = draw_warp(rng, ALWAYS, (8, 128, 128), (10.0, 1.5, 1.5))
    assert sagittal is not None
    assert sagittal.matrix[0] == IDENTITY[0]


def test_a_turned_slice_stays_in_its_slice() -> None:
    config = AugmentConfig(affine_chance=1.0, elastic_chance=1.0)
    slices = torch.arange(8.0).expand(40, 40, 8)
    geometry = draw_geometry(
        np.random.default_rng(0), (40, 40, 8), (32, 32, 8), "none", config, spacing=(1, 1, 5)
    )
    torch.testing.assert_close(
        apply_geometry(slices, geometry, (32, 32, 8), 0.0)[8:24, 8:24], slices[8:24, 8:24]
    )


def test_drawn_strengths_keep_their_limits_and_fill_them() -> None:
    rng = np.random.default_rng(0)
    matrices = [draw_warp(rng, ALWAYS, (32, 32, 32), ONES) for _ in range(500)]
    scales, angles, tilts = [], [], []
    for warp in matrices:
        assert warp is not None
        forward = np.linalg.inv(np.array(warp.matrix))
        scale = np.cbrt(np.linalg.det(forward))
        turn = forward / scale  # Z * Y * X
        scales.append(scale)
        tilts.append(np.rad2deg([np.arcsin(-turn[2, 0]), np.arctan2(turn[2, 1], turn[2, 2])]))
        angles.append(np.rad2deg(np.arctan2(turn[1, 0], turn[0, 0])))
    for drawn, middle, limit in [(scales, 1, 0.15), (angles, 0, 15), (tilts, 0, 8)]:
        far = np.abs(np.array(drawn) - middle) / limit
        assert far.max() <= 1 + 1e-9
        assert far.max() > 0.98
        assert far.mean() == pytest.approx(0.5, abs=0.05)  # uniform; standard error 0.013


def test_the_chance_is_kept() -> None:
    rng = np.random.default_rng(0)
    half = AugmentConfig(affine_chance=0.5)
    drawn = [draw_warp(rng, half, (8, 8, 8), ONES) is not None for _ in range(400)]
    assert 170 < sum(drawn) < 230  # 200 expected, standard deviation 10


def test_a_warp_replays_bit_for_bit() -> None:
    config = AugmentConfig(affine_chance=1.0, elastic_chance=1.0)
    volume = torch.rand(1, 30, 30, 20)
    first, again = (
        draw_geometry(np.random.default_rng((5, 7)), (30, 30, 20), (16, 16, 12), "none", config)
        for _ in range(2)
    )
    assert first == again
    cut = [apply_geometry(volume, g, (16, 16, 12), 0.0) for g in (first, again)]
    assert torch.equal(*cut)
