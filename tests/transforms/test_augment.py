"""Settings of augmentation: off by default, refused out of range or on a patch too thin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simcvd.transforms.augment import STRONG, AugmentConfig, check_augment, fine_axes
from simcvd.transforms.spatial import draw_geometry
from simcvd.types import IntTriple, SimcvdError, Triple


def test_nothing_is_done_by_default() -> None:
    assert not AugmentConfig().spatial
    assert not AugmentConfig().intensity
    assert STRONG.spatial
    assert STRONG.intensity


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("affine_chance", 1.5),
        ("rotation", -1.0),
        ("scale", 1.0),
        ("mirror", (3,)),
        ("gamma", float("nan")),
        ("blur", (1.0, 0.5)),
        ("low_resolution", 0.5),
    ],
)
def test_refuses_what_is_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(SimcvdError, match=rf"augment\.{field} is"):
        AugmentConfig(**{field: value})


@pytest.mark.parametrize(
    ("patch", "spacing", "axes"),
    [
        ((112, 112, 80), (0.625, 0.625, 0.625), (0, 1, 2)),
        ((128, 128, 8), (1.5, 1.5, 10.0), (0, 1)),
        ((64, 64, 64), (1.0, 1.0, 2.9), (0, 1, 2)),
        ((64, 64, 64), (1.0, 1.0, 3.0), (0, 1)),
        ((96, 96, 32), (1.0, 1.0, 1.0), (0, 1)),
        ((96, 96, 33), (1.0, 1.0, 1.0), (0, 1, 2)),
        ((24, 96, 96), (4.0, 1.0, 1.0), (1, 2)),
        ((64, 4, 4), (1.0, 1.0, 1.0), (0,)),
    ],
)
def test_axes_that_are_coarse_or_short_are_left_out(
    patch: IntTriple, spacing: Triple, axes: tuple[int, ...]
) -> None:
    assert fine_axes(patch, spacing) == axes


def test_a_patch_too_thin_is_refused_by_name() -> None:
    check_augment(STRONG, (128, 128, 8), (1.5, 1.5, 10.0))
    check_augment(AugmentConfig(), (64, 4, 4), (1.0, 1.0, 1.0))
    with pytest.raises(SimcvdError, match=r"affine_chance is 0.5, but a patch of 64 x 4 x 4"):
        check_augment(STRONG, (64, 4, 4), (1.0, 1.0, 1.0))
    with pytest.raises(SimcvdError, match="one voxel along axis 2"):
        check_augment(AugmentConfig(mirror=(0, 2)), (64, 64, 1), (1.0, 1.0, 1.0))


def test_mirrored_axes_are_reversed_half_the_time_each_on_its_own() -> None:
    rng = np.random.default_rng(0)
    config = AugmentConfig(mirror=(0, 2))
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(800):
        flips = draw_geometry(rng, (4, 4, 4), (4, 4, 4), "none", config).flips
        seen[flips] = seen.get(flips, 0) + 1
    assert set(seen) == {(), (0,), (2,), (0, 2)}
    assert min(seen.values()) > 150  # 200 expected, standard deviation 12


def test_a_centre_is_kept_to_as_far_as_the_scan_reaches() -> None:
    rng = np.random.default_rng(0)
    for centre, start in [((10, 10, 10), (6, 6, 6)), ((0, 1, 29), (0, 0, 22))]:
        drawn = draw_geometry(rng, (30, 30, 30), (8, 8, 8), "none", centre=centre)
        assert drawn.start == start
    assert draw_geometry(rng, (6, 30, 30), (8, 8, 8), "none", centre=(5, 9, 9)).start == (-1, 5, 5)


def test_effects_leave_crops_and_poses_as_they_are_drawn_without() -> None:
    """The same stream gives the same places, so that a recipe changes only what it names."""
    for augmentation in ("published", "fixed", "none"):
        plain, strong = (
            draw_geometry(np.random.default_rng(4), (40, 40, 40), (16, 16, 16), augmentation, c)
            for c in (AugmentConfig(), STRONG)
        )
        assert (plain.start, plain.turns, plain.flips) == (strong.start, strong.turns, strong.flips)
