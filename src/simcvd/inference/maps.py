"""What is made of the class probabilities in the scan's own grid: labels, maps, a confidence.

The probabilities of the whole scan are never held: labels take a byte a voxel, and maps are
written into files of a byte a voxel and class, laid out on the disk before the first window.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from simcvd.data.crop import Box
from simcvd.files import replace_into
from simcvd.formats.nifti import image_like
from simcvd.inference.geometry import Part
from simcvd.types import IntTriple

STEPS = 255


class SourceMaps:
    """Takes the parts of `parts_in_source` and holds what they come to.

    labels: ``[X, Y, Z]`` uint8 classes on the whole source grid, background outside the box.
    probabilities: ``[X, Y, Z, K]`` uint8, 255 is 1. entropy: ``[X, Y, Z]`` uint8, 255 is ln K.
    Both are optional, filled in place, and as large as the whole source grid.
    """

    def __init__(
        self,
        shape: IntTriple,
        box: Box,
        probabilities: np.ndarray | None = None,
        entropy: np.ndarray | None = None,
    ) -> None:
        self.labels = np.zeros(shape, np.uint8)
        if probabilities is not None:
            probabilities[..., 0] = STEPS  # outside the box all is background
        self._labels = self.labels[box]
        self._probabilities = probabilities[box] if probabilities is not None else None
        self._entropy = entropy[box] if entropy is not None else None
        self._certainty, self._foreground = 0.0, 0

    @property
    def confidence(self) -> float | None:
        """Mean probability of the chosen class over the voxels of a foreground class.

        The largest softmax probability tells right from wrong voxels (Hendrycks and Gimpel,
        ICLR 2017); its mean over the predicted structure ranks whole segmentations, as mean
        entropy does in Mehrtash et al., IEEE TMI 2020. None where no foreground was found.
        """
        return self._certainty / self._foreground if self._foreground else None

    def fill(self, parts: Iterable[Part]) -> None:
        """Take all parts of a scan."""
        for place, maps in parts:
            self._take(place, maps)

    def _take(self, place: tuple[slice, slice, slice], maps: Iterable[np.ndarray]) -> None:
        """One part, one class at a time; of equal classes the first is chosen."""
        labels = self._labels[place]
        best = np.full(labels.shape, -np.inf, np.float32)
        surprise = np.zeros(labels.shape, np.float32)
        count = 0
        for count, p in enumerate(maps, start=1):
            better = p > best
            best[better] = p[better]
            labels[better] = count - 1
            if self._probabilities is not None:
                self._probabilities[(*place, count - 1)] = np.rint(STEPS * p)
            if self._entropy is not None:
                surprise -= p * np.log(np.maximum(p, np.finfo(np.float32).tiny))
        if self._entropy is not None:
            share = surprise / np.float32(np.log(count))
            self._entropy[place] = np.rint(STEPS * share.clip(0, 1))
        inside = labels > 0
        self._certainty += float(best[inside].sum(dtype=np.float64))
        self._foreground += int(np.count_nonzero(inside))


@contextmanager
def map_file(
    path: Path, shape: tuple[int, ...], top: float, affine: np.ndarray, like: Path | None = None
) -> Iterator[np.ndarray]:
    """A uint8 array of ``shape`` that becomes a NIfTI file when the block ends without error.

    top: the value that 255 stands for; readers see it through the file's scale factor. like: a
    NIfTI file whose geometry codes are kept. The room is taken on the disk at once, so a full
    disk is said before the work and not after it. Raises CannotWrite.
    """
    import nibabel

    with replace_into(path) as temporary, _reserved(path, shape) as array:
        yield array
        image = image_like(array, affine, like)
        image.header.set_slope_inter(top / STEPS, 0)
        image.header["cal_min"], image.header["cal_max"] = 0, top
        nibabel.save(image, temporary)


@contextmanager
def _reserved(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Zeros on the disk beside ``path``, in the order NIfTI stores voxels; gone afterwards."""
    with TemporaryFile(dir=path.parent) as file:
        os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)))
        yield np.memmap(file, np.uint8, "r+", shape=shape, order="F")
