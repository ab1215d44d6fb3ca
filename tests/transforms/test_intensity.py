"""Jitter of intensities: worked numbers, limits, and that it can be replayed."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from scipy import ndimage

from simcvd.transforms.augment import STRONG, AugmentConfig
from simcvd.transforms.intensity import (
    Jitter,
    apply_intensity,
    blurring,
    coarsening,
    draw_intensity,
    weigh,
)

CPU = torch.device("cpu")
ALL = AugmentConfig(
    contrast_chance=1.0,
    gamma_chance=1.0,
    noise_chance=1.0,
    blur_chance=1.0,
    low_resolution_chance=1.0,
)


def _one(values: list[float], jitter: Jitter) -> list[float]:
    image = torch.tensor(values, dtype=torch.float32).view(1, 1, -1, 1, 1)
    return apply_intensity(image, [jitter]).flatten().tolist()


def test_gain_and_offset_by_hand() -> None:
    assert _one([0, 1, -2], Jitter(gain=1.5, offset=0.25)) == [0.25, 1.75, -2.75]


def test_gamma_by_hand() -> None:
    """On the range -1 to 3: shares 0, 1/2, 1/4, 1 become 0, 1/4, 1/16, 1."""
    assert _one([-1, 1, 0, 3], Jitter(gamma=2.0)) == [-1, 0, -0.75, 3]
    assert _one([2, 2], Jitter(gamma=2.0)) == [2, 2]  # no range at all


def test_each_channel_has_its_own_range() -> None:
    image = torch.tensor([[0.0, 0.5, 1.0], [0.0, 5.0, 10.0]]).view(1, 2, 3, 1, 1)
    out = apply_intensity(image, [Jitter(gamma=2.0)])
    assert out.flatten().tolist() == [0, 0.25, 1, 0, 2.5, 10]


def test_noise_is_added() -> None:
    assert _one([1, 2], Jitter(noise=torch.tensor([0.5, -0.5]).view(1, 2, 1, 1))) == [1.5, 1.5]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_blur_agrees_with_scipy(axis: int) -> None:
    patch = torch.rand(2, 21, 20, 19)
    patch[:, :5] = patch[:, -5:] = patch[:, :, :5] = patch[:, :, -5:] = 0
    patch[..., :5] = patch[..., -5:] = 0  # what lies beyond the edge counts as nothing there
    ours = weigh(patch, blurring(patch.shape[axis + 1], 1.0, CPU), axis)
    theirs = ndimage.gaussian_filter1d(patch.numpy(), 1.0, axis + 1, mode="constant", truncate=4)
    inner = [slice(None), slice(4, -4), slice(4, -4), slice(4, -4)]
    np.testing.assert_allclose(ours[tuple(inner)], theirs[tuple(inner)], atol=1e-5)


def test_long_voxels_by_hand() -> None:
    """Twice as long: pairs are averaged to 1, 5, 9, and read at a quarter and three quarters."""
    ramp = torch.tensor([0.0, 2, 4, 6, 8, 10]).view(1, 6, 1, 1)
    out = weigh(ramp, coarsening(6, 2.0, CPU), 0).flatten()
    assert out.tolist() == pytest.approx([1, 2, 4, 6, 8, 9])


@pytest.mark.parametrize("length", [1, 2, 7, 80])
def test_a_constant_stays_what_it_is(length: int) -> None:
    for weights in (blurring(length, 1.0, CPU), coarsening(length, 1.7, CPU)):
        torch.testing.assert_close(weights.sum(1), torch.ones(length))
        assert weights.min() >= 0


def test_blur_is_as_wide_in_millimetres_along_every_axis_and_spares_coarse_ones() -> None:
    torch.manual_seed(0)
    for spacing, ratios in [((1.0, 1.0, 2.0), (1, 1, 0.5)), ((1.5, 1.5, 10.0), (1, 1, 0))]:
        (jitter,) = draw_intensity(torch.zeros(1, 1, 16, 16, 16), ALL, spacing)
        assert 0.5 <= jitter.blur[0] <= 1
        assert jitter.blur == pytest.approx([jitter.blur[0] * ratio for ratio in ratios])
        assert (jitter.coarser[2] == 1) == (ratios[2] == 0)


def test_drawn_strengths_keep_their_limits_and_fill_them() -> None:
    torch.manual_seed(0)
    jitters = draw_intensity(torch.zeros(600, 1, 8, 4, 4), ALL)
    drawn = {
        "gain": [(j.gain - 1) / 0.3 for j in jitters],
        "offset": [j.offset / 0.3 for j in jitters],
        "gamma": [log(j.gamma) / 0.5 for j in jitters],
        "blur": [(j.blur[0] - 0.75) / 0.25 for j in jitters],
        "coarser": [(j.coarser[0] - 1.5) / 0.5 for j in jitters],
    }
    for name, values in drawn.items():
        assert max(map(abs, values)) <= 1 + 1e-6, name
        assert max(values) > 0.97, name
        assert min(values) < -0.97, name
        assert abs(sum(values)) / 600 < 0.1, name  # standard error 0.024
    deviations = torch.stack([j.noise.std() for j in jitters if j.noise is not None])
    assert len(deviations) == 600
    assert deviations.mean().item() == pytest.approx(0.1, abs=0.01)  # uniform up to 0.2
    assert deviations.max() < 0.2 * 1.3  # of 128 voxels, standard error 6 %


def test_chances_are_kept() -> None:
    torch.manual_seed(0)
    jitters = draw_intensity(torch.zeros(1000, 1, 2, 2, 2), STRONG)
    counts = {
        0.8: sum(j.gain != 1 for j in jitters),
        0.5: sum(j.gamma != 1 for j in jitters),
        0.3: sum(j.blur != (0, 0, 0) for j in jitters),
        0.0: sum(j.coarser != (1, 1, 1) for j in jitters),
    }
    for chance, count in counts.items():
        assert count == pytest.approx(1000 * chance, abs=60)  # at most four standard deviations
    assert 440 < sum(j.noise is not None for j in jitters) < 560


def test_replays_and_leaves_its_input_alone() -> None:
    image = torch.randn(3, 2, 8, 8, 6).contiguous(memory_format=torch.channels_last_3d)
    before = image.clone()
    torch.manual_seed(1)
    jitters = draw_intensity(image, ALL)
    out = apply_intensity(image, jitters)
    assert torch.equal(out, apply_intensity(image, jitters))
    assert torch.equal(image, before)
    assert (out != image).float().mean() > 0.9
    torch.manual_seed(1)
    again = draw_intensity(image, ALL)
    assert torch.equal(out, apply_intensity(image, again))


def test_without_a_chance_patches_are_the_same_bits() -> None:
    image = torch.randn(2, 1, 4, 4, 4)
    assert torch.equal(apply_intensity(image, draw_intensity(image, AugmentConfig())), image)


def test_order_of_effects() -> None:
    """Gain and offset, gamma, noise: (0, 1) -> (1, 3) -> range 2, unchanged at its ends -> + 1."""
    jitter = Jitter(gain=2.0, offset=1.0, gamma=exp(0.5), noise=torch.ones(1, 2, 1, 1))
    assert _one([0, 1], jitter) == [2, 4]
