"""Slices and outlines as the page shows them, read back pixel by pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from simcvd.colours import class_colour
from simcvd.report.sprites import FINE, MOST_PIXELS, MOST_SLICES, Picture, Sprites, draw
from simcvd.types import Triple


def _picture(
    image: np.ndarray, label: np.ndarray | None = None, spacing: Triple = (1.0, 1.0, 1.0)
) -> Picture:
    maps = {"label": np.zeros(image.shape, np.uint8) if label is None else label}
    return Picture(image=image, maps=maps, spacing=spacing)


def _tile(data: bytes, sprites: Sprites, place: int) -> np.ndarray:
    """One slice of a sheet, as RGBA."""
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    height, width = sheet.shape[0] // sprites.rows, sheet.shape[1] // sprites.columns
    row, column = divmod(place, sprites.columns)
    return sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]


def test_right_is_left_and_anterior_up_as_the_letters_say() -> None:
    image = np.zeros((20, 30, 5), np.float32)
    image[12:, 20:] = 100  # right and anterior, in RAS+
    sprites = draw(_picture(image))
    assert (sprites.plane, sprites.edges) == ("axial", ("R", "L", "A", "P"))
    grey = _tile(sprites.image, sprites, 2)[..., 0]
    assert grey.shape == (30, 20)
    assert grey[:8, :6].min() > 200
    assert max(grey[15:].max(), grey[:, 10:].max()) < 60


@pytest.mark.parametrize(
    ("spacing", "plane", "edges"),
    [
        ((1, 1, 5), "axial", ("R", "L", "A", "P")),
        ((1, 4, 1), "coronal", ("R", "L", "S", "I")),
        ((3, 1, 1), "sagittal", ("P", "A", "S", "I")),
        ((1.2, 1, 1), "axial", ("R", "L", "A", "P")),  # hardly longer: as everybody looks at scans
    ],
)
def test_slices_lie_across_the_longest_voxels(
    spacing: Triple, plane: str, edges: tuple[str, ...]
) -> None:
    sprites = draw(_picture(np.zeros((6, 7, 8), np.float32), spacing=spacing))
    assert (sprites.plane, sprites.edges) == (plane, edges)


def test_voxels_have_their_true_shape() -> None:
    sprites = draw(_picture(np.zeros((40, 40, 10), np.float32), spacing=(2.0, 1.0, 6.0)))
    assert sprites.ratio == 2
    assert _tile(sprites.image, sprites, 0).shape[:2] == (40, 80)


def test_an_outline_encloses_its_class_in_its_colour() -> None:
    label = np.zeros((32, 32, 3), np.uint8)
    label[8:16, 8:24, 1] = 2
    sprites = draw(_picture(np.zeros(label.shape, np.float32), label))
    assert sprites.first == 1
    outline = _tile(sprites.outlines["label"], sprites, 1)
    finer = FINE // 32
    rows, columns = np.nonzero(outline[..., 3])
    # Anterior up and right to the left: X 8 to 15 of 32 ends 8 voxels from the right edge.
    assert (rows.min(), rows.max() + 1) == (8 * finer, 24 * finer)
    assert (columns.min(), columns.max() + 1) == (16 * finer, 24 * finer)
    assert outline[rows.min() + finer, columns.min() + finer, 3] == 0  # nothing inside
    colour = tuple(int(class_colour(2)[i : i + 2], 16) for i in (1, 3, 5))
    assert {tuple(pixel[:3]) for pixel in outline[rows, columns]} == {colour}
    assert not _tile(sprites.outlines["label"], sprites, 0)[..., 3].any()


def _drawn(label: np.ndarray, dotted: tuple[str, ...]) -> np.ndarray:
    """Whether each pixel of the sheet belongs to the outline."""
    image = np.zeros(label.shape, np.float32)
    picture = Picture(image=image, maps={"a": label}, spacing=(1, 1, 1), dotted=dotted)
    sheet = Image.open(io.BytesIO(draw(picture).outlines["a"])).convert("RGBA")
    return np.asarray(sheet)[..., 3] > 0


def test_dots_are_some_of_the_line() -> None:
    label = np.zeros((32, 32, 1), np.uint8)
    label[8:24, 8:24] = 1
    whole, dots = _drawn(label, ()), _drawn(label, ("a",))
    assert not (dots & ~whole).any()
    assert 0.3 < dots.sum() / whole.sum() < 0.7


def test_large_scans_are_thinned_out_evenly() -> None:
    sprites = draw(_picture(np.zeros((600, 300, 90), np.float32), spacing=(0.5, 0.5, 0.5)))
    assert (sprites.count, sprites.whole) == (MOST_SLICES, 90)
    assert _tile(sprites.image, sprites, 0).shape[:2] == (MOST_PIXELS // 2, MOST_PIXELS)


def test_one_bright_voxel_does_not_blacken_the_rest() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(10, 20, (30, 30, 4)).astype(np.float32)
    image[0, 0, 0] = 1e6
    grey = _tile(draw(_picture(image)).image, draw(_picture(image)), 2)[..., 0]
    assert grey.std() > 40
