"""The views of Table V: what they change, by how much, and that they can be replayed."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from simcvd.transforms.painting import (
    HOLES,
    KEPT,
    View,
    apply_curve,
    apply_order,
    apply_paint,
    change_view,
    draw_boxes,
    draw_curve,
    draw_order,
    draw_paint,
)

CPU = torch.device("cpu")
VIEWS = [view for view in get_args(View) if view != "none"]


@pytest.fixture
def image() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 2, 30, 24, 20)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_changes_every_patch_and_follows_the_seed(image: Tensor, view: View) -> None:
    before = image.clone()
    torch.manual_seed(1)
    changed = change_view(image, view)
    torch.manual_seed(1)
    assert torch.equal(changed, change_view(image, view))
    assert changed.shape == image.shape
    assert changed.isfinite().all()
    assert torch.equal(image, before)
    assert all((changed[i] != image[i]).any() for i in range(3))
    assert not torch.equal(changed, change_view(image, view))


def test_no_view_is_the_image_itself(image: Tensor) -> None:
    assert change_view(image, "none") is image


def test_shuffling_is_a_permutation_within_a_tenth_of_each_axis() -> None:
    torch.manual_seed(0)
    size, moved = (30, 24, 20), torch.zeros(3)
    grid = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij")).float()
    image = grid.expand(20, -1, -1, -1, -1)
    shuffled = apply_order(image, draw_order(20, size, CPU))
    codes = (shuffled * torch.tensor([480.0, 20.0, 1.0]).view(3, 1, 1, 1)).sum(1).flatten(1)
    assert torch.equal(codes.sort(1).values, torch.arange(30 * 24 * 20.0).expand(20, -1))
    moved = (shuffled - image).abs().amax((0, 2, 3, 4))
    # Windows of at most 3, 2, 2 voxels: nothing moves by more than 2, 1, 1.
    assert moved.tolist() == [2.0, 1.0, 1.0]


def test_shuffling_keeps_channels_together(image: Tensor) -> None:
    two = torch.cat([image[:, :1], -image[:, :1]], 1)
    shuffled = apply_order(two, draw_order(3, (30, 24, 20), CPU))
    assert torch.equal(shuffled[:, 0], -shuffled[:, 1])


def test_curves_are_monotonic_and_end_in_opposite_corners() -> None:
    torch.manual_seed(0)
    abscissa, ordinate = draw_curve(200, CPU).unbind(1)
    assert (abscissa.diff(dim=1) >= -1e-6).all()
    rising = ordinate[:, -1] > 0.5
    steps = torch.where(rising[:, None], 1.0, -1.0) * ordinate.diff(dim=1)
    assert (steps >= -1e-6).all()
    assert 70 < rising.sum() < 130  # 100 expected, standard deviation 7
    torch.testing.assert_close(ordinate[:, 0], 1 - ordinate[:, -1])


def test_a_worked_curve_is_looked_up_within_the_window() -> None:
    # Values 0, 2, 4, 6, 8: mean 4, standard deviation sqrt(10); the window is 4 -+ 6.3246.
    # y = x^2 at share (v - low) / 12.6491: 4 lies at 1/2, so it becomes low + 12.6491 / 4.
    image = torch.tensor([0.0, 2.0, 4.0, 6.0, 8.0]).view(1, 1, 5, 1, 1)
    x = torch.linspace(0, 1, 10001)
    mapped = apply_curve(image, torch.stack([x, x * x])[None])
    low, width = 4 - 2 * 10**0.5, 4 * 10**0.5
    expected = [low + width * ((v - low) / width) ** 2 for v in (0, 2, 4, 6, 8)]
    assert mapped.flatten().tolist() == pytest.approx(expected, abs=1e-3)
    assert mapped[0, 0, 2].item() == pytest.approx(low + width / 4, abs=1e-3)


def test_the_straight_curve_changes_nothing_even_beyond_the_window(image: Tensor) -> None:
    image[0, 0, 0, 0, 0] = 40.0
    x = torch.linspace(0, 1, 256)
    torch.testing.assert_close(apply_curve(image, torch.stack([x, x]).expand(3, 2, -1)), image)


@pytest.mark.parametrize(("sides", "low", "high"), [(HOLES, 5, 10), (KEPT, 13, 17)])
def test_boxes_have_the_sides_that_were_asked_for(
    sides: tuple[float, float], low: int, high: int
) -> None:
    # Of 30 voxels: 1/6 to 1/3 are 5 to 10; 3/7 to 4/7 are 12.9 to 17.1.
    torch.manual_seed(0)
    boxes = draw_boxes(torch.zeros(60, 1, 30, 30, 30), sides)
    assert boxes.shape == (60, 1, 30, 30, 30)
    assert boxes.flatten(1).any(1).all()
    extent = boxes.any(-1).any(-1).sum(2)  # length of the union along X
    assert extent.min() >= low
    assert extent.max() <= min(5 * high, 30)
    share = boxes.float().mean().item()
    # One to five boxes of mean volume (1/4)^3 = 0.0156 or (1/2)^3 = 0.125, overlapping.
    assert sides[0] ** 3 < share < 5 * sides[1] ** 3


@pytest.mark.parametrize("view", ["inpainting", "outpainting"])
def test_painting_leaves_the_rest_as_it_was(image: Tensor, view: View) -> None:
    torch.manual_seed(2)
    changed = change_view(image, view) != image
    torch.manual_seed(2)
    boxes = draw_boxes(image, HOLES if view == "inpainting" else KEPT)
    painted = boxes if view == "inpainting" else ~boxes
    assert torch.equal(changed, painted.expand_as(changed))


def test_paint_stays_within_two_standard_deviations(image: Tensor) -> None:
    image[1] = image[1] * 3 + 10
    paint = draw_paint(image)
    for i in range(3):
        for c in range(2):
            mean, spread = image[i, c].mean(), 2 * image[i, c].std()
            assert mean - spread <= paint[i, c].min() < mean - 0.98 * spread
            assert mean + 0.98 * spread < paint[i, c].max() <= mean + spread


def test_paint_covers_all_channels_where_it_is_put() -> None:
    where = torch.zeros(1, 1, 2, 1, 1, dtype=torch.bool)
    where[0, 0, 1] = True
    painted = apply_paint(torch.zeros(1, 2, 2, 1, 1), where, torch.ones(1, 2, 2, 1, 1))
    assert painted.flatten().tolist() == [0.0, 1.0, 0.0, 1.0]
