"""One small sound scan in each format, and ways to damage it."""

from __future__ import annotations

import bz2
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from tests.data.dicom_series import write_series

SHAPE = (16, 14, 10)
PLAIN = np.diag([1.0, 1.0, 2.0, 1.0])
VOXELS = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
LABEL = (VOXELS > 600).astype(np.uint8)
# Formats whose voxels carry a checksum: what is damaged must be refused.
COMPRESSED = ("nii.gz", "nii.bz2", "nrrd-gzip", "nhdr", "mha-zlib", "mhd")


@dataclass(frozen=True)
class Sample:
    """A scan called ``a`` in a folder. files: which are damaged in turn; scan: what is read."""

    format: str
    files: tuple[Path, ...]
    scan: Path


def write_samples(folder: Path) -> dict[str, Sample]:
    """Every format's sample in a folder of its own below ``folder``."""
    return {name: _sample(name, write, folder / name) for name, write in WRITERS.items()}


def _sample(name: str, write: Callable[[Path], Path], folder: Path) -> Sample:
    folder.mkdir(parents=True)
    scan = write(folder)
    return Sample(name, tuple(sorted(p for p in folder.rglob("*") if p.is_file())), scan)


def _nifti(ending: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"a.{ending}"
        if ending.endswith("bz2"):
            path.write_bytes(bz2.compress(nibabel.Nifti1Image(VOXELS, PLAIN).to_bytes()))
        elif ending == "img":
            nibabel.save(nibabel.Nifti1Pair(VOXELS, PLAIN), path)
        else:
            nibabel.save(nibabel.Nifti1Image(VOXELS, PLAIN), path)
        return path

    return write


def _itk(ending: str, compressed: bool) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        image = SimpleITK.GetImageFromArray(VOXELS.T)
        image.SetSpacing([1.0, 1.0, 2.0])
        SimpleITK.WriteImage(image, str(folder / f"a.{ending}"), useCompression=compressed)
        return folder / f"a.{ending}"

    return write


def _h5(folder: Path) -> Path:
    import h5py

    (folder / "a").mkdir()
    with h5py.File(folder / "a" / "mri_norm2.h5", "w") as file:  # the one name that is known
        file["image"] = VOXELS.astype(np.float32)
        file["label"] = LABEL
    return folder / "a"


def _dicom(folder: Path) -> Path:
    write_series(folder / "a", VOXELS, PLAIN)
    return folder / "a"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "nii": _nifti("nii"),
    "nii.gz": _nifti("nii.gz"),
    "nii.bz2": _nifti("nii.bz2"),
    "img": _nifti("img"),
    "nrrd": _itk("nrrd", False),
    "nrrd-gzip": _itk("nrrd", True),
    "nhdr": _itk("nhdr", True),
    "mha": _itk("mha", False),
    "mha-zlib": _itk("mha", True),
    "mhd": _itk("mhd", True),
    "h5": _h5,
    "dicom": _dicom,
}


@dataclass(frozen=True)
class Mutant:
    """One damage to one file of a sample: bits flipped, or the end cut off."""

    sample: Sample
    file: int
    flips: tuple[int, ...] = ()
    length: int | None = None

    def __str__(self) -> str:
        what = f"bits {self.flips}" if self.flips else f"cut to {self.length}"
        return f"{self.sample.format}: {self.sample.files[self.file].name} {what}"

    def write(self, folder: Path) -> Path:
        """The sample with the damage below ``folder``; returns the scan."""
        source = self.sample.scan
        root = source if source.is_dir() else source.parent
        target = folder / "a" if source.is_dir() else folder
        shutil.copytree(root, target, dirs_exist_ok=True)
        victim = target / self.sample.files[self.file].relative_to(root)
        data = bytearray(victim.read_bytes())
        for bit in self.flips:
            data[bit // 8] ^= 1 << bit % 8
        victim.write_bytes(data[: self.length])
        return target if source.is_dir() else target / source.name


def mutants(sample: Sample, count: int, seed: int) -> Iterator[Mutant]:
    """Damages of a sample, the same for the same seed: three in four flip a bit.

    Every other flip falls into the first 512 bytes, where headers are.
    """
    rng = random.Random(f"{sample.format} {seed}")
    for number in range(count):
        file = rng.randrange(len(sample.files))
        size = sample.files[file].stat().st_size
        if number % 4 == 3:
            yield Mutant(sample, file, length=rng.randrange(size))
        else:
            end = min(size, 512) if number % 2 else size
            yield Mutant(sample, file, flips=(rng.randrange(8 * end),))
