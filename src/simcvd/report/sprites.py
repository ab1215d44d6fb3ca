"""All slices of a scan as one image, and outlines over them as others, as small as a page needs.

The slices stand in rows and columns of one grid, a sprite; the page shows one of them at a time.
Pixels are square in mm, whatever the voxels are. Outlines are drawn on a grid some whole number of
times finer, so that they stay thin over scans of few voxels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from simcvd.colours import class_colour
from simcvd.types import Triple

MOST_SLICES = 64
MOST_PIXELS = 256  # of a slice's longer side
FINE = 288  # pixels of an outline's longer side, at least half of it
QUALITY = 60  # of the grey slices, as WebP has it
WINDOW = (0.5, 99.5)  # percentiles that are black and white
# Slices lie across this axis unless voxels are this much longer along another one.
AXIAL, LONGER = 2, 1.25
PLANES = ("sagittal", "coronal", "axial")
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))  # where X, Y, Z of a RAS+ array start and end
DOTS = 3  # pixels of a dot and of a gap


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is to be shown of a scan, along RAS+ axes.

    image: ``[X, Y, Z]``. maps: class indices ``[X, Y, Z]`` uint8 by layer. spacing: mm. dotted:
    layers whose outlines are dotted.
    """

    image: np.ndarray
    maps: Mapping[str, np.ndarray]
    spacing: Triple
    dotted: tuple[str, ...] = ()

    @property
    def across(self) -> int:
        """The axis that slices lie across: the one with much the longest voxels, else Z."""
        longest = int(np.argmax(self.spacing))
        others = max(side for axis, side in enumerate(self.spacing) if axis != longest)
        return longest if self.spacing[longest] > LONGER * others else AXIAL


@dataclass(frozen=True, kw_only=True)
class Sprites:
    """A scan as images of ``columns`` times ``rows`` slices.

    image: WebP. outlines: PNG by layer, transparent. count: slices shown of ``whole``. first: the
    one with most in it, from 0. plane: what they are called. edges: letters at the left, right,
    top and bottom. ratio: width of a slice by its height.
    """

    image: bytes
    outlines: dict[str, bytes]
    columns: int
    rows: int
    count: int
    whole: int
    first: int
    plane: str
    edges: tuple[str, str, str, str]
    ratio: float


def draw(picture: Picture) -> Sprites:
    """The scan's slices, evenly taken where they are many, in radiological convention."""
    axis = picture.across
    whole = picture.image.shape[axis]
    places = np.unique(np.linspace(0, whole - 1, min(whole, MOST_SLICES)).round().astype(int))
    columns = math.ceil(math.sqrt(len(places)))
    rows = math.ceil(len(places) / columns)
    slices = cuts(picture.image, axis, places)
    size = _size(picture, axis)
    finer = max(1, FINE // max(size))
    fine = size[0] * finer, size[1] * finer
    maps = {layer: cuts(values, axis, places) for layer, values in picture.maps.items()}
    grey = [_sized(cut, size, Image.Resampling.BILINEAR) for cut in _windowed(picture, slices)]
    outlines = {
        layer: [_outline(_sized(cut, fine), layer in picture.dotted) for cut in own]
        for layer, own in maps.items()
    }
    return Sprites(
        image=_webp(_grid(grey, columns, rows)),
        outlines={layer: _png(_grid(own, columns, rows)) for layer, own in outlines.items()},
        columns=columns,
        rows=rows,
        count=len(places),
        whole=whole,
        first=_fullest(list(maps.values()), len(places)),
        plane=PLANES[axis],
        edges=_edges(axis),
        ratio=size[0] / size[1],
    )


def cuts(array: np.ndarray, axis: int, places: Iterable[int]) -> list[np.ndarray]:
    """Slices ``[rows, columns]``: superior or anterior up; the patient's right on the left."""
    turned = [np.take(array, place, axis).T[::-1] for place in places]
    return [cut if axis == 0 else cut[:, ::-1] for cut in turned]


def _edges(axis: int) -> tuple[str, str, str, str]:
    across, up = (ENDS[a] for a in range(3) if a != axis)
    left, right = across if axis == 0 else across[::-1]
    return left, right, up[1], up[0]


def _size(picture: Picture, axis: int) -> tuple[int, int]:
    """Width and height of a slice in square pixels, as many as the voxels need."""
    sides = [a for a in range(3) if a != axis]
    width, height = (picture.image.shape[a] * picture.spacing[a] for a in sides)
    pixel = max(min(picture.spacing[a] for a in sides), max(width, height) / MOST_PIXELS)
    return max(1, round(width / pixel)), max(1, round(height / pixel))


def _windowed(picture: Picture, slices: list[np.ndarray]) -> list[np.ndarray]:
    """Grey values as uint8; single voxels of metal or noise do not set black and white."""
    few = picture.image[tuple(slice(None, None, max(1, n // 64)) for n in picture.image.shape)]
    low, high = np.nanpercentile(np.asarray(few, np.float32), WINDOW)
    scale = 255 / max(float(high - low), 1e-6)
    shown = [np.nan_to_num((cut.astype(np.float32) - low) * scale) for cut in slices]
    return [cut.clip(0, 255).astype(np.uint8) for cut in shown]


def _sized(
    cut: np.ndarray, size: tuple[int, int], how: Image.Resampling = Image.Resampling.NEAREST
) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(cut)).resize(size, how))


def _outline(classes: np.ndarray, dotted: bool) -> np.ndarray:
    """Classes where a neighbour in the slice has another one, 0 elsewhere."""
    around = np.pad(classes, 1)
    inner = around[1:-1, 1:-1]
    others = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    edge = np.logical_or.reduce([inner != other for other in others])
    if dotted:
        y, x = np.indices(edge.shape)
        edge &= (x + y) // DOTS % 2 == 0
    return np.where(edge, inner, 0).astype(np.uint8)


def _grid(cuts: list[np.ndarray], columns: int, rows: int) -> np.ndarray:
    height, width = cuts[0].shape
    sheet = np.zeros((rows, height, columns, width), np.uint8)
    for place, cut in enumerate(cuts):
        sheet[place // columns, :, place % columns] = cut
    return sheet.reshape(rows * height, columns * width)


def _fullest(maps: list[list[np.ndarray]], count: int) -> int:
    """The slice with most foreground in all layers together; without any, the middle one."""
    voxels = [sum(int(np.count_nonzero(cuts[n])) for cuts in maps) for n in range(count)]
    return voxels.index(max(voxels)) if any(voxels) else count // 2


def _webp(grey: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def _png(classes: np.ndarray) -> bytes:
    """One byte a pixel and a table of colours, of which the first is transparent."""
    image = Image.fromarray(classes)
    image.putpalette(bytes.fromhex("".join(class_colour(k)[1:] for k in range(classes.max() + 1))))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=0, optimize=True)
    return buffer.getvalue()
