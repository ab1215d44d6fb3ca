"""Spacing, patch and strides, worked by hand for several kinds of scans."""

from __future__ import annotations

import numpy as np
import pytest

from simcvd.planning.geometry import fitted_patch, poolings, sizes_at, target_spacing
from simcvd.types import IntTriple, SimcvdError, Triple

EVEN = (2, 2, 2)
FLAT = (2, 2, 1)


def always(patch: IntTriple, strides: tuple[IntTriple, ...]) -> bool:
    return True


def test_spacing_is_the_median_of_each_axis() -> None:
    spacings = np.array([[0.7, 0.7, 1.0], [0.8, 0.8, 1.5], [0.9, 0.9, 2.0]])
    spacing, reason = target_spacing(spacings)
    assert spacing == (0.8, 0.8, 1.5)
    assert reason == "Median of 3 scans."


def test_thick_slices_take_their_tenth_percentile() -> None:
    thickness = np.array([2.5, 3, 4, 5, 5, 5, 5, 5, 5, 6, 6])  # sorted: place 1 of 0..10 is 10 %
    spacings = np.stack([np.full(11, 0.8), np.full(11, 0.8), thickness], axis=1)
    spacing, reason = target_spacing(spacings)
    assert spacing == (0.8, 0.8, 3.0)
    assert "6.2 times" in reason  # 5 / 0.8 = 6.25
    assert "5 mm" in reason


def test_thick_slices_never_become_finer_than_the_other_axes() -> None:
    spacings = np.array([[1.0, 1.0, 0.5]] * 3 + [[1.0, 1.0, 4.0]] * 7)  # the 10th percentile is 0.5
    assert target_spacing(spacings)[0] == (1.0, 1.0, 1.0)


def test_sizes_are_medians_at_the_new_spacing() -> None:
    shapes = np.array([[100, 100, 20], [120, 110, 30], [90, 200, 40]])
    spacings = np.array([[1, 1, 4], [1, 1, 2], [2, 1, 2]])
    # At 1 x 1 x 2 mm: 100, 120, 180; 100, 110, 200; 40, 30, 40.
    assert sizes_at(shapes, spacings, (1, 1, 2)) == (120, 110, 40)


@pytest.mark.parametrize(
    ("size", "spacing", "patch", "strides"),
    [
        # Left atrium at 0.625 mm. 88 slices are whole, rounded up to 96; 112 x 112 x 96 would be
        # more than the paper's 112 x 112 x 80, so the next multiple of 16 below.
        ((192, 142, 88), (0.625,) * 3, (96, 96, 96), (EVEN,) * 4),
        # CT of thick slices. 0.8 -> 1.6 -> 3.2 in the plane, then 5 is less than twice 3.2.
        # 176 x 176 x 28 is 867,328; 192 x 192 x 28 is 1,032,192 and above 1,003,520.
        ((512, 512, 60), (0.8, 0.8, 5.0), (176, 176, 28), (FLAT, FLAT, EVEN, EVEN)),
        # Hippocampus: 35 -> 17 -> 8 -> 4, 50 -> 25 -> 12 -> 6, 36 -> 18 -> 9 -> 4; whole.
        ((35, 50, 36), (1.0, 1.0, 1.0), (40, 56, 40), (EVEN,) * 3),
        # Three voxels can never be halved, five only to less than four.
        ((6, 5, 3), (1.0, 1.0, 1.0), (6, 5, 3), ()),
        # A few thick slices that stay as they are: 12 x 3 mm, halved once voxels are alike.
        ((64, 64, 12), (1.0, 1.0, 3.0), (64, 64, 12), (FLAT, EVEN, FLAT, FLAT)),
        # One slice: no axis to halve across it.
        ((64, 64, 1), (1.0, 1.0, 5.0), (64, 64, 1), (FLAT,) * 4),
    ],
)
def test_patch_and_strides(
    size: IntTriple, spacing: Triple, patch: IntTriple, strides: tuple[IntTriple, ...]
) -> None:
    assert fitted_patch(size, spacing, always) == (patch, strides)


def test_less_memory_gives_a_smaller_patch_of_the_same_shape_in_mm() -> None:
    def small(patch: IntTriple, strides: tuple[IntTriple, ...]) -> bool:
        return patch[0] * patch[1] * patch[2] <= 60_000

    # A cube of 40 voxels is 64,000, and divided by 16 it is 32.
    assert fitted_patch((192, 142, 88), (0.6,) * 3, small)[0] == (32, 32, 32)


def test_no_memory_at_all_is_refused() -> None:
    with pytest.raises(SimcvdError, match="not enough memory"):
        fitted_patch((64, 64, 64), (1.0,) * 3, lambda patch, strides: False)


@pytest.mark.parametrize("seed", range(200))
def test_strides_keep_their_promises_on_any_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, z = (int(n) for n in rng.integers(1, 300, 3))
    a, b, c = (float(s) for s in rng.uniform(0.2, 6, 3))
    strides = poolings((x, y, z), (a, b, c))
    patch, planned = fitted_patch((x, y, z), (a, b, c), always)
    step = np.prod(planned, axis=0, dtype=int) if planned else np.ones(3, int)
    assert len(strides) <= 4
    assert all(n % s == 0 for n, s in zip(patch, step, strict=True))
    halved = step > 1
    assert (np.array(patch) // step >= 4)[halved].all()
    assert (np.array(patch) - np.array([x, y, z]) < step).all()  # padded by less than a step
    length = np.array([a, b, c])
    for stride in planned:
        before = length.copy()
        length = length * np.array(stride)
        pooled = np.array(stride) == 2
        assert before[pooled].max() < 2 * before[pooled].min()
