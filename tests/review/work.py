"""A WORK folder as `simcvd run` leaves it, put together without training anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
from nibabel import orientations
from scipy.spatial.transform import Rotation
from tests.data.dicom_series import write_series

from simcvd.demo.phantom import PhantomSettings, make_phantom
from simcvd.formats import write_label

SHAPE = (40, 32, 24)
# Turned about all three axes, with three different voxel sides: oblique and anisotropic.
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (14, -9, 21), degrees=True).as_matrix() @ np.diag(
    [1.1, 0.9, 2.5]
)
OBLIQUE[:3, 3] = (-31.0, 12.5, 40.25)
FRAME = "1.2.826.0.1.3680043.8.498.1"
DICOM_TAGS = {
    "t0020x0052": FRAME,
    "t0008x0016": "1.2.840.10008.5.1.4.1.1.2",
    "t0010x0010": "Doe^Jane",
}


def affine_of(codes: str, affine: np.ndarray = OBLIQUE, shape: Sequence[int] = SHAPE) -> np.ndarray:
    """The affine of a scan whose axes point to ``codes``, such as "LPS" or "SAR"."""
    turn = orientations.ornt_transform(
        orientations.io_orientation(affine), orientations.axcodes2ornt(tuple(codes))
    )
    return np.asarray(affine @ orientations.inv_ornt_aff(turn, tuple(shape)))


@cache
def phantom(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A scan of `SHAPE` as int16 and its label with the classes 0, 1 and 2."""
    settings = PhantomSettings(shape=SHAPE, spacing=(2.0, 2.5, 3.3))
    image, label = make_phantom((7, index), settings)
    classes = label.array.astype(np.uint8)
    classes[:, : SHAPE[1] // 2][classes[:, : SHAPE[1] // 2] > 0] = 2
    return np.round(image.array[0] * (1 if image.array.max() > 50 else 1000)).astype(
        np.int16
    ), classes


def make_work(
    folder: Path,
    names: Sequence[str] = ("a", "b", "c"),
    *,
    labelled: int = 1,
    codes: str = "LAS",
    ending: str = ".nii.gz",
    values: Sequence[int] = (0, 1, 2),
    affine: np.ndarray = OBLIQUE,
) -> Path:
    """Scans, labels of the first ``labelled``, predictions and a table; returns the WORK folder.

    ending: of the scans, "" for DICOM series. values: of the classes in the files.
    """
    images, labels, work = folder / "images", folder / "labels", folder / "work"
    for part in (images, labels, work / "predictions"):
        part.mkdir(parents=True)
    place = affine_of(codes, affine)
    rows = ["case,file,confidence,chamber (ml),veins (ml),flags"]
    for index, name in enumerate(names):
        image, classes = phantom(index)
        path = images / f"{name}{ending}"
        write_scan(path, image, place)
        truth = np.array(values)[classes]
        if index < labelled:
            write_label(labels / f"{name}.nii.gz", truth, place)
        guess = np.roll(truth, 1, axis=0)
        like = path if ending else None
        answer = ending if ending in (".nrrd", ".mha") else ".nii.gz"
        write_label(work / "predictions" / f"{name}{answer}", guess, place, like=like)
        ml = [np.count_nonzero(guess == v) * abs(np.linalg.det(place)) / 1000 for v in values[1:]]
        flag = "small volume" if index == 1 else ""
        rows.append(
            f"{name},{name}{ending},{0.95 - 0.13 * index:.3f},{ml[0]:.2f},{ml[1]:.2f},{flag}"
        )
    (work / "predictions" / "predictions.csv").write_text("\n".join(rows) + "\n")
    record = {"images": str(images), "labels": str(labels), "preset": "quick"}
    (work / "run.json").write_text(json.dumps({**record, "resample_labels": False}))
    write_manifest(work / "cache", values)
    return work


def write_scan(path: Path, image: np.ndarray, affine: np.ndarray) -> None:
    """As NIfTI, NRRD or MHA by the ending, else as a DICOM series in the folder ``path``."""
    if not path.suffix:
        write_series(path, image, affine, **DICOM_TAGS)
    elif ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(image, affine), path)
    else:
        import SimpleITK

        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        made = SimpleITK.GetImageFromArray(image.T.copy())
        made.SetSpacing(spacing.tolist())
        made.SetOrigin(lps[:3, 3].tolist())
        made.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        SimpleITK.WriteImage(made, str(path))


def write_manifest(cache: Path, values: Sequence[int]) -> None:
    """What the cache says of the classes; its cases are not needed here."""
    cache.mkdir(parents=True)
    manifest = {
        "class_names": {"0": "background", "1": "chamber", "2": "veins"},
        "label_values": {str(k): v for k, v in enumerate(values)},
    }
    (cache / "manifest.json").write_text(json.dumps(manifest))
