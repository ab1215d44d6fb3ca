"""Boxes and what is pasted with them."""

from __future__ import annotations

from itertools import product

import torch

from simcvd.transforms.mixing import draw_box, exchange, paste

CPU = torch.device("cpu")


def test_a_box_of_two_thirds_of_each_side() -> None:
    torch.manual_seed(0)
    boxes = draw_box((50,), (12, 9, 6), (2 / 3, 2 / 3), CPU)
    assert boxes.shape == (50, 12, 9, 6)
    assert boxes.dtype == torch.bool
    assert (boxes.sum((1, 2, 3)) == 8 * 6 * 4).all()
    # 5, 4 and 3 places fit along the axes; 50 draws reach both ends of each.
    for axis in (1, 2, 3):
        ends = boxes.movedim(axis, 1).flatten(2).any(2)[:, [0, -1]]
        assert ends.any(0).all()


def test_sides_lie_between_shortest_and_longest_and_boxes_are_solid() -> None:
    torch.manual_seed(0)
    sides = set()
    for box in draw_box((200,), (10, 10, 10), (1 / 2, 4 / 5), CPU):
        inside = box.nonzero()
        size = (inside.max(0).values - inside.min(0).values + 1).tolist()
        assert box.sum() == size[0] * size[1] * size[2]
        sides.update(size)
    assert sides == {5, 6, 7, 8}


def test_the_same_seed_draws_the_same_boxes() -> None:
    first, second = (
        torch.manual_seed(7) and draw_box((2, 3), (8, 8, 4), (0.2, 0.9), CPU) for _ in range(2)
    )
    assert first.shape == (2, 3, 8, 8, 4)
    assert torch.equal(first, second)


def test_paste_voxel_by_voxel() -> None:
    torch.manual_seed(0)
    onto, other = torch.randn(2, 2, 2, 4, 3, 3).unbind(0)
    box = draw_box((2,), (4, 3, 3), (0.5, 0.8), CPU)
    found = paste(onto, other, box.unsqueeze(1))
    for b, c, x, y, z in product(range(2), range(2), range(4), range(3), range(3)):
        source = other if box[b, x, y, z] else onto
        assert found[b, c, x, y, z] == source[b, c, x, y, z]


def test_exchange_gives_each_patch_the_box_of_the_one_before_and_loses_nothing() -> None:
    x = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 4, 4, 2)
    box = draw_box((1,), (4, 4, 2), (0.5, 0.5), CPU)
    found = exchange(x, box)
    for patch, before in ((0, 2), (1, 0), (2, 1)):
        assert (found[patch][box[0]] == before).all()
        assert (found[patch][~box[0]] == patch).all()
    for value in range(3):
        assert (found == value).sum() == 4 * 4 * 2
