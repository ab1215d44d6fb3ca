"""Axes along which no class changes its meaning, by names and by where the labels lie."""

from __future__ import annotations

import numpy as np
import pytest

from simcvd.checking.places import Place, places_of
from simcvd.planning.mirror import mirror_axes


def _boxes(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    label = np.zeros((20, 20, 20), np.uint8)
    for value, box in enumerate(boxes, start=1):
        label[box] = value
    return label


def _side_by_side(axis: int, first: int) -> np.ndarray:
    """Two boxes of 6 voxels, one after the other along an axis; ``first``: which comes first."""
    label = np.zeros((20, 20, 20), np.uint8)
    for place, value in enumerate((first, 3 - first)):
        box = [slice(7, 13)] * 3
        box[axis] = slice(3 + 8 * place, 9 + 8 * place)
        label[tuple(box)] = value
    return label


def test_place_of_a_box_by_hand() -> None:
    label = _boxes((slice(2, 4), slice(5, 6), slice(0, 3)))
    # Indices 2 and 3; 5; 0, 1 and 2.
    assert places_of(label, (1, 2)) == {1: Place(centre=(2.5, 5, 1), variance=(0.25, 0, 2 / 3))}


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (["anterior", "posterior"], (0, 2)),
        (["Left Kidney", "Right Kidney"], (1, 2)),
        (["kidney_L", "kidney_R"], (1, 2)),
        (["LeftLung"], (1, 2)),
        (["upper lobe", "lower lobe"], (0, 1)),
        (["left anterior", "right superior"], ()),
        (["liver", "spleen"], (0, 1, 2)),
        (["L1 vertebra", "bright lesion"], (0, 1, 2)),
        (["background tissue"], (0, 1, 2)),
    ],
)
def test_sides_in_names(names: list[str], axes: tuple[int, ...]) -> None:
    assert mirror_axes(dict(enumerate(names, start=1)), []).axes == axes


def test_the_background_names_no_side() -> None:
    assert mirror_axes({0: "left over", 1: "liver"}, []).axes == (0, 1, 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_nameless_classes_in_one_order_in_every_scan(axis: int) -> None:
    names = {1: "class 1", 2: "class 2"}
    same = [places_of(_side_by_side(axis, 1), (1, 2))] * 3
    found = mirror_axes(names, same)
    assert found.axes == tuple(other for other in range(3) if other != axis)
    assert "'class 1' and 'class 2' lie in the same order in all 3 labelled scans" in found.reason
    either = [*same, places_of(_side_by_side(axis, 2), (1, 2))]
    assert mirror_axes(names, either).axes == (0, 1, 2)


def test_a_class_around_another_is_on_no_side_of_it() -> None:
    """A heart's wall around its blood, its centre a little off: 1 voxel of a spread of 4."""
    label = _boxes((slice(2, 16), slice(2, 16), slice(2, 16)), (slice(7, 13),) * 3)
    places = places_of(label, (1, 2))
    assert places[2].centre[0] - places[1].centre[0] > 0.5
    assert mirror_axes({1: "wall", 2: "blood"}, [places] * 4).axes == (0, 1, 2)


def test_a_single_class_keeps_its_meaning() -> None:
    """Even one that lies off the middle in every scan: mirrored, it is still that organ."""
    label = _boxes((slice(2, 6), slice(3, 9), slice(0, 5)))
    assert mirror_axes({1: "atrium"}, [places_of(label, (1, 2))] * 5).axes == (0, 1, 2)


def test_the_reason_is_one_sentence() -> None:
    assert mirror_axes({1: "Anterior", 2: "Posterior"}, []).reason == (
        "Mirrored left-right and foot-head; not front-back, whose sides name 'Anterior' and "
        "'Posterior'."
    )
    assert mirror_axes({1: "atrium"}, []).reason == "Mirrored left-right, front-back and foot-head."
    nowhere = mirror_axes({1: "left front", 2: "upper"}, []).reason
    assert nowhere.startswith("Not mirrored; not left-right, whose sides name 'left front'; not f")
