"""What is made of the class probabilities in the scan's own grid: labels, maps, a confidence.

The probabilities of the whole scan are never held: labels take a byte a voxel, and maps are
written into files of a byte a voxel and class, laid out on the disk before the first window.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch

from simcvd.data.crop import Box
from simcvd.files import replace_into
from simcvd.formats.nifti import image_like
from simcvd.inference.geometry import Part
from simcvd.types import IntTriple

STEPS = 255
TINY = float(np.finfo(np.float32).tiny)


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

    def _take(self, place: tuple[slice, slice, slice], maps: Iterable[Any]) -> None:
        """One part, one class at a time; of equal classes the first is chosen.

        Maps on a GPU are worked on there, by torch's functions of numpy's names, and what comes of
        them is copied once, a byte a voxel.
        """
        each = iter(maps)
        first = next(each)
        lib: Any = np if isinstance(first, np.ndarray) else torch
        best, surprise = lib.full_like(first, -np.inf), lib.zeros_like(first)
        labels = lib.zeros_like(first, dtype=lib.uint8)
        count = 0
        for count, p in enumerate(chain([first], each), start=1):
            labels[p > best] = count - 1
            lib.maximum(best, p, out=best)
            if self._probabilities is not None:
                self._probabilities[(*place, count - 1)] = _bytes(lib.round(STEPS * p))
            if self._entropy is not None:
                surprise -= p * lib.log(p.clip(TINY))
        if self._entropy is not None:
            share = surprise / float(np.log(count))
            self._entropy[place] = _bytes(lib.round(STEPS * share.clip(0, 1)))
        self._labels[place] = _bytes(labels)
        inside = labels > 0
        self._certainty += float(best[inside].sum(dtype=lib.float64))
        self._foreground += int(lib.count_nonzero(inside))


def _bytes(whole: Any) -> np.ndarray:
    """Numbers from 0 to 255 as bytes in the host's memory."""
    if isinstance(whole, np.ndarray):
        return whole.astype(np.uint8, copy=False)
    array: np.ndarray = whole.to(torch.uint8).cpu().numpy()
    return array


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
