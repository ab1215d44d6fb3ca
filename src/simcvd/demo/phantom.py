"""Phantom scans: an atrium-like chamber with veins, among organs that look like it.

Made, not measured: they let anyone try the whole chain in minutes and without patient data.
Blood in the neighbouring ventricle, right atrium and aorta is as bright as in the chamber, and
so is the fat under the skin, so that no threshold finds the chamber; shape and place do.

Organs are implicit functions: ``[X, Y, Z]`` arrays of an approximate distance to the surface in
mm, inside negative. Painting them one over another gives soft edges (partial volume) for free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from simcvd.types import IntTriple, SimcvdError, Triple, Volume

Array = np.ndarray[Any, Any]

AIR, LUNG, SOFT, WALL, BLOOD, FAT, BONE = 0.02, 0.10, 0.38, 0.50, 0.80, 0.90, 0.62
VEIN_DIRECTIONS = ((-1.0, -0.5, 0.5), (-1.0, -0.5, -0.5), (1.0, -0.5, 0.5), (1.0, -0.5, -0.5))


@dataclass(frozen=True, kw_only=True)
class PhantomSettings:
    """How a phantom scan is made; the anatomy scales with the field of view.

    shape: voxels along X, Y, Z.  spacing: mm.
    noise: standard deviation of the (Rician) noise, blood being about 0.8.
    bias: standard deviation of the logarithm of the bias field.
    variation: relative spread of sizes, places and intensities between cases.
    """

    shape: IntTriple = (48, 48, 32)
    spacing: Triple = (2.0, 2.0, 3.0)
    noise: float = 0.07
    bias: float = 0.20
    variation: float = 0.12

    def __post_init__(self) -> None:
        if min(self.shape) < 16:
            raise SimcvdError(f"phantom shape {self.shape}: at least 16 voxels along each axis")
        if min(self.spacing) <= 0 or min(self.noise, self.bias, self.variation) < 0:
            raise SimcvdError(f"phantom settings must not be negative, spacing above 0: {self}")


def write_phantoms(
    folder: Path,
    cases: int,
    seed: int,
    *,
    test: int,
    labeled: int | None = None,
    settings: PhantomSettings | None = None,
) -> list[str]:
    """Writes ``cases`` phantom scans and returns their names, training scans first.

    The layout is two plain folders with lists: ``images/NAME.nii.gz``, ``labels/NAME.nii.gz``,
    ``train.list`` and ``test.list`` (the last ``test`` cases). Only the first ``labeled``
    training scans and the test scans get a label file; None labels all. The same arguments
    give the same scans, and case i does not depend on how many follow it.
    """
    if not 0 <= test < cases or not 0 <= (labeled or 0) <= cases - test:
        raise SimcvdError(f"cannot make {cases} phantoms with {test} for test, {labeled} labelled")
    names = [f"phantom_{index:03d}" for index in range(cases)]
    train = cases - test
    for index, name in enumerate(names):
        image, label = make_phantom((seed, index), settings)
        _write_nifti(folder / "images" / f"{name}.nii.gz", image)
        if labeled is None or index < labeled or index >= train:
            _write_nifti(folder / "labels" / f"{name}.nii.gz", label)
    (folder / "train.list").write_text("".join(f"{name}\n" for name in names[:train]), "utf-8")
    (folder / "test.list").write_text("".join(f"{name}\n" for name in names[train:]), "utf-8")
    return names


def make_phantom(
    seed: int | Sequence[int], settings: PhantomSettings | None = None
) -> tuple[Volume, Volume]:
    """One scan ``[1, X, Y, Z]`` int16 and its label ``[X, Y, Z]`` uint8, 1 = chamber and veins."""
    settings = settings or PhantomSettings()
    random = np.random.default_rng(seed)
    space = _Space(random, settings)
    chamber, blood = _chamber(space), space.vary(BLOOD, 0.4)
    image = _paint_body(space, blood)
    image = _paint(image, chamber - 0.03 * space.size, WALL)
    image = _paint(image, chamber, space.vary(blood, 0.2))
    affine = _affine(random, settings)
    scan, label = _acquire(image, space)[::-1, ::-1], (chamber < 0).astype(np.uint8)[::-1, ::-1]
    return Volume(array=scan[None], affine=affine), Volume(array=label, affine=affine)


class _Space:
    """The random stream of one case and the places of its voxels.

    Places are mm from the middle: to the patient's right, to the front, upwards.
    """

    def __init__(self, random: np.random.Generator, settings: PhantomSettings) -> None:
        self.random, self.settings = random, settings
        extents = [n * s for n, s in zip(settings.shape, settings.spacing, strict=True)]
        self.size = 0.5 * min(extents)  # mm; organ sizes and places are fractions of it
        axes = [
            (np.arange(n) - (n - 1) / 2) * s
            for n, s in zip(settings.shape, settings.spacing, strict=True)
        ]
        self.points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def vary(self, value: float, share: float = 1.0) -> float:
        """value times 1 +- ``share`` of the variation."""
        spread = share * self.settings.variation
        return float(value * (1 + spread * np.clip(self.random.normal(), -2, 2)))

    def place(self, *fractions: float) -> Array:
        """A point in mm, moved by the case's own shift."""
        jitter = self.random.normal(scale=0.4 * self.settings.variation, size=3)
        return self.size * (np.asarray(fractions) + np.clip(jitter, -0.15, 0.15))

    def smooth_field(self, width: float) -> Array:
        """A smooth random field of unit standard deviation; ``width`` in mm."""
        sigma = [width / s for s in self.settings.spacing]
        field = gaussian_filter(self.random.normal(size=self.settings.shape), sigma, mode="wrap")
        return np.asarray((field - field.mean()) / field.std())


def _ellipsoid(space: _Space, centre: Array, *semi_axes: float) -> Array:
    """An ellipsoid turned at random; ``semi_axes`` are fractions of the space's size."""
    axes = np.array([space.vary(space.size * a) for a in semi_axes])
    turn = Rotation.from_rotvec(space.random.normal(scale=space.settings.variation, size=3))
    scaled = (space.points - centre) @ turn.as_matrix() / axes
    return np.asarray((np.linalg.norm(scaled, axis=-1) - 1) * axes.min())


def _tube(space: _Space, path: Array, radius: Array) -> Array:
    """Tube along the points ``path[N, 3]`` with a radius (mm) at each of them."""
    distance = np.full(space.settings.shape, np.inf)
    for point, r in zip(path, radius, strict=True):
        offset = space.points - point
        length = np.sqrt(np.einsum("...i,...i", offset, offset))
        np.minimum(distance, length - r, out=distance)
    return distance


def _curve(start: Array, bend: Array, end: Array) -> Array:
    """16 points on the quadratic Bezier curve from start to end."""
    t = np.linspace(0, 1, 16)[:, None]
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end)


def _chamber(space: _Space) -> Array:
    """The uneven chamber and its three or four veins."""
    centre = space.place(0.0, -0.12, 0.0)
    body = _ellipsoid(space, centre, 0.46, 0.34, 0.42)
    body += 0.25 * space.settings.variation * space.size * space.smooth_field(0.2 * space.size)
    count = space.random.integers(3, len(VEIN_DIRECTIONS) + 1)
    chosen = space.random.permutation(len(VEIN_DIRECTIONS))[:count]
    veins = [_vein(space, centre, np.array(VEIN_DIRECTIONS[i])) for i in chosen]
    return np.minimum.reduce([body, *veins])


def _vein(space: _Space, centre: Array, direction: Array) -> Array:
    """A vein that leaves the chamber's middle, bends and becomes thinner."""
    direction = direction + space.random.normal(scale=space.settings.variation, size=3)
    direction *= space.size / np.linalg.norm(direction)
    side = space.random.normal(scale=0.12 * space.size, size=3)
    end = centre + space.vary(0.82) * direction
    path = _curve(centre, centre + 0.45 * direction + side, end)
    radius = space.vary(0.125) * space.size * np.linspace(1.2, 0.8, len(path))
    return _tube(space, path, radius)


def _paint_body(space: _Space, blood: float) -> Array:
    """Everything but the chamber, from the outside in; ``[X, Y, Z]``. blood: its intensity."""
    image = np.full(space.settings.shape, AIR)
    trunk = _ellipsoid(space, space.place(0, 0, 0), 1.02, 0.92, 2.2)
    image = _paint(image, trunk, space.vary(FAT, 0.3))
    image = _paint(image, trunk + 0.10 * space.size, SOFT)
    for side in (-1, 1):
        lung = _ellipsoid(space, space.place(0.68 * side, -0.1, 0.1), 0.26, 0.55, 0.9)
        image = _paint(image, lung, LUNG)
    image = _paint(image, _ellipsoid(space, space.place(0, -0.78, 0), 0.17, 0.15, 3.0), BONE)
    for organ in _neighbours(space):
        image = _paint(image, organ - 0.04 * space.size, WALL)
        image = _paint(image, organ, space.vary(blood, 0.2))
    return image


def _neighbours(space: _Space) -> list[Array]:
    """Ventricle, right atrium and the two parts of the aorta: full of the same blood."""
    ventricle = _ellipsoid(space, space.place(-0.28, 0.50, -0.36), 0.30, 0.28, 0.42)
    right_atrium = _ellipsoid(space, space.place(0.40, 0.46, 0.02), 0.24, 0.26, 0.34)
    root, top = space.place(0.02, 0.40, 0.15), space.place(0.05, 0.32, 1.1)
    ascending = _curve(root, (root + top) / 2, top)
    low, high = space.place(-0.30, -0.66, -1.1), space.place(-0.30, -0.66, 1.1)
    descending = _curve(low, (low + high) / 2, high)
    width = np.full(len(ascending), 0.13 * space.size)
    return [
        ventricle,
        right_atrium,
        _tube(space, ascending, width),
        _tube(space, descending, 0.85 * width),
    ]


def _paint(image: Array, organ: Array, value: float) -> Array:
    """Lays the organ over the image; its edge is soft over about 2 mm."""
    share = 1 / (1 + np.exp(np.clip(2 * organ, -30, 30)))
    return np.asarray(image * (1 - share) + value * share)


def _acquire(image: Array, space: _Space) -> Array:
    """Texture, bias field, Rician noise and the scanner's own gain; int16 ``[X, Y, Z]``."""
    settings = space.settings
    image = image * (1 + 0.06 * space.smooth_field(0.05 * space.size))
    # Receive coils lie on the skin: what is far from the middle is brighter.
    depth = np.linalg.norm(space.points / space.size, axis=-1)
    image = image * np.exp(settings.bias * (space.smooth_field(0.6 * space.size) + depth))
    real, imaginary = space.random.normal(scale=settings.noise, size=(2, *settings.shape))
    magnitude = np.hypot(image + real, imaginary)
    return np.asarray(np.rint(magnitude * space.vary(600, 2)), dtype=np.int16)


def _affine(random: np.random.Generator, settings: PhantomSettings) -> Array:
    """A slightly oblique scan whose first two axes run to the left and the back, as DICOM's do."""
    turn = Rotation.from_euler("xyz", random.uniform(-8, 8, size=3), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.0, -1.0, 1.0]) @ np.diag(settings.spacing)
    middle = (np.asarray(settings.shape) - 1) / 2
    affine[:3, 3] = random.uniform(-40, 40, size=3) - affine[:3, :3] @ middle
    return affine


def _write_nifti(path: Path, volume: Volume) -> None:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    array = volume.array[0] if volume.array.ndim == 4 else volume.array
    nifti = nibabel.Nifti1Image(array, volume.affine)
    nifti.header.set_xyzt_units("mm")
    nibabel.save(nifti, path)
