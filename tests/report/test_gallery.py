"""Pictures of scans by system: surfaces by geometry known beforehand, panels by their content."""

from __future__ import annotations

import numpy as np
import pytest

from simcvd.report.gallery import Shown, gallery
from simcvd.report.surface import AMBIENT, ROOM, render

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def _block(*slices: slice) -> np.ndarray:
    mask = np.zeros((12, 10, 8), bool)
    mask[slices] = True
    return mask


def _hues(picture: np.ndarray) -> set[str]:
    """Which surfaces are seen: red, blue, or both in one pixel."""
    drawn = picture[(picture < 1).any(2)]
    names = {(True, False): "red", (False, True): "blue", (True, True): "both"}
    return {names[bool(r), bool(b)] for r, _, b in drawn}


def test_two_equal_surfaces_are_seen_as_one() -> None:
    mask = _block(slice(3, 9), slice(2, 8), slice(2, 6))
    assert _hues(render((mask, mask), (RED, BLUE), (1.0, 1.0, 1.0))) == {"both"}


def test_the_surface_nearer_to_the_back_hides_the_other() -> None:
    """Y runs to the front, so the block that begins at Y = 2 stands before that at Y = 6."""
    behind = _block(slice(3, 9), slice(6, 9), slice(2, 6))
    before = _block(slice(3, 9), slice(2, 5), slice(2, 6))
    assert _hues(render((behind, before), (RED, BLUE), (1.0, 1.0, 1.0))) == {"blue"}
    assert _hues(render((before, behind), (RED, BLUE), (1.0, 1.0, 1.0))) == {"red"}


def test_left_is_left_and_up_is_up_in_true_proportions() -> None:
    """A block at small X and large Z stands at the upper left; voxels of 3 mm in Z are tall."""
    mask = _block(slice(0, 4), slice(2, 8), slice(6, 8))
    picture = render((mask, mask), (RED, BLUE), (1.0, 1.0, 3.0))
    rows, columns = np.nonzero((picture < 1).any(2))
    step = 24 / 160  # mm: the longest side is 8 * 3
    assert picture.shape[:2] == (160 + 2 * ROOM, round(12 / step) + 2 * ROOM)
    # Smoothing rounds the edges off by less than a voxel.
    assert (columns.max() - ROOM) * step == pytest.approx(4, abs=0.5)
    assert (rows.max() - ROOM) * step == pytest.approx(6, abs=1.5)


def test_a_face_towards_the_viewer_has_the_brightness_of_its_angle() -> None:
    """Light (-0.4, 0.6, 0.7) on a normal (0, 0, 1): 0.7 / sqrt(1.01)."""
    mask = _block(slice(2, 10), slice(2, 8), slice(1, 7))
    picture = render((mask, mask), (RED, RED), (1.0, 1.0, 1.0))
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2]
    assert middle[0] == pytest.approx(AMBIENT + (1 - AMBIENT) * 0.7 / 1.01**0.5, abs=0.02)


@pytest.mark.parametrize("which", [(), (0,), (1,)])
def test_an_empty_mask_is_not_drawn(which: tuple[int, ...]) -> None:
    masks = [np.zeros((12, 10, 8), bool), np.zeros((12, 10, 8), bool)]
    for index in which:
        masks[index] = _block(slice(3, 9), slice(2, 8), slice(2, 6))
    hues = _hues(render((masks[0], masks[1]), (RED, BLUE), (1.0, 1.0, 1.0)))
    assert hues == {("red", "blue")[index] for index in which}


def test_a_column_a_system_and_a_gap_where_it_has_no_prediction() -> None:
    reference = _block(slice(3, 9), slice(2, 8), slice(4, 6)).astype(int)
    image = np.arange(960.0).reshape(reference.shape)
    found = {"One": reference, "Two": 0 * reference}
    scans = [
        Shown(name="a_b", image=image, reference=reference, spacing=(1.0, 1.0, 2.0),
              predictions=found, dice={"One": 100.0, "Two": 0.0}),
        Shown(name="c", image=image, reference=0 * reference, spacing=(1.0, 1.0, 2.0),
              predictions={"One": 0 * reference}, dice={"One": 0.0}),
    ]  # fmt: skip
    figure = gallery(scans, ["One", "Two"])
    panels = np.array(figure.axes).reshape(4, 2)
    assert [axes.get_title() for axes in panels[0]] == ["One", "Two"]
    np.testing.assert_array_equal(panels[0, 0].images[0].get_array(), image[..., 4].T)
    assert [axes.get_xlabel() for axes in panels[1]] == ["Dice 100.0", "Dice 0.0"]
    assert [len(axes.collections) for axes in panels[0]] == [2, 1]  # outlines
    assert [axes.axison for axes in panels[2]] == [True, False]
    figure.canvas.draw()
