"""Probabilities, entropy, confidence and volumes in the scan's own grid; memory said before."""

from __future__ import annotations

import csv
import dataclasses
import errno
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from tests.inference.tools import OBLIQUE, blob, small_vnet, spec
from tests.whole import predict_probabilities

from simcvd.data.preprocess import to_network
from simcvd.data.resample import axis_maps, resampled
from simcvd.formats import read_image
from simcvd.inference import memory
from simcvd.inference.compute import Compute
from simcvd.inference.maps import SourceMaps
from simcvd.inference.model import Model, save_model
from simcvd.inference.predict import predict_files
from simcvd.inference.scan import Wanted
from simcvd.inference.sliding_window import Windows
from simcvd.preprocessing import Preprocessing
from simcvd.types import SimcvdError, Triple, Volume

ALL = Wanted(probabilities=True, entropy=True)
WINDOWS = Windows(patch=(8, 8, 8), stride=(4, 4, 4), classes=3, tapered=True)


def scan_file(path: Path, turned: bool = False) -> Path:
    affine = OBLIQUE[:, [1, 2, 0, 3]] * [-1, 1, 1, 1] if turned else OBLIQUE
    nibabel.save(nibabel.Nifti1Image(blob()[0], affine), path)
    return path


def run_with(tmp_path: Path, preprocessing: Preprocessing) -> Path:
    save_model(tmp_path / "run", small_vnet(), spec(preprocessing=preprocessing))
    return tmp_path / "run"


def reference(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """``[X, Y, Z, K]`` in the scan's grid: everything at once, resampled class by class."""
    volume = read_image(path)
    scan = to_network(volume, preprocessing)
    share = predict_probabilities(small_vnet(), torch.from_numpy(scan.array), WINDOWS).numpy()
    x, y, z = volume.array.shape[1:]
    maps = axis_maps(volume.affine, scan.affine)
    return np.stack([resampled(p, (x, y, z), maps) for p in share], axis=-1)


@pytest.mark.parametrize("turned", [False, True], ids=["as is", "turned"])
@pytest.mark.parametrize("spacing", [None, (1.7, 0.9, 2.0)], ids=["own grid", "resampled"])
def test_maps_lie_in_the_scans_grid(tmp_path: Path, spacing: Triple | None, turned: bool) -> None:
    preprocessing = Preprocessing(spacing=spacing)
    path, out = scan_file(tmp_path / "a.nii.gz", turned), tmp_path / "out"
    run = run_with(tmp_path, preprocessing)
    predict_files(run, [path], out, wanted=ALL, device="cpu", precision="float32")
    share = reference(path, preprocessing)
    source = nibabel.load(path)
    probabilities = nibabel.load(out / "probabilities" / "a.nii.gz")
    assert probabilities.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(probabilities.affine, source.affine)
    np.testing.assert_allclose(probabilities.get_fdata(), share, atol=0.501 / 255)
    entropy = nibabel.load(out / "entropy" / "a.nii.gz")
    np.testing.assert_array_equal(entropy.affine, source.affine)
    expected = -(share * np.log(np.maximum(share, 1e-38))).sum(-1)
    np.testing.assert_allclose(entropy.get_fdata(), expected, atol=0.51 * np.log(3) / 255)
    assert expected.max() > 0.5
    labels = np.asarray(nibabel.load(out / "a.nii.gz").dataobj)
    np.testing.assert_array_equal(labels, np.array([0, 420, 600])[share.argmax(-1)])


def test_confidence_and_volumes_stand_in_the_table(tmp_path: Path) -> None:
    path, out = scan_file(tmp_path / "a.nii.gz"), tmp_path / "out"
    predict_files(
        run_with(tmp_path, Preprocessing()), [path], out, device="cpu", precision="float32"
    )
    share = reference(path, Preprocessing())
    chosen, best = share.argmax(-1), share.max(-1)
    with (out / "predictions.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["case"], row["file"]) == ("a", "a.nii.gz")
    assert float(row["confidence"]) == pytest.approx(best[chosen > 0].mean(), abs=6e-5)
    for k, name in ((1, "wall"), (2, "blood")):
        millilitres = (chosen == k).sum() * 0.9 * 1.1 * 2.5 / 1000
        assert float(row[f"{name} (ml)"]) == pytest.approx(millilitres, abs=6e-4)


def test_worked_numbers() -> None:
    """Two voxels of class 1 at 0.6 and 0.9, one of background at 0.8: confidence 0.75."""
    maps = SourceMaps((3, 1, 1), (slice(0, 3), slice(0, 1), slice(0, 1)))
    share = np.array([0.4, 0.1, 0.8], np.float32).reshape(3, 1, 1)
    maps.fill([((slice(0, 3), slice(0, 1), slice(0, 1)), iter([share, 1 - share]))])
    assert maps.labels.ravel().tolist() == [1, 1, 0]
    assert maps.confidence == pytest.approx(0.75)
    assert SourceMaps((3, 1, 1), (slice(0, 3), slice(0, 1), slice(0, 1))).confidence is None


def test_outside_a_crop_all_is_background(tmp_path: Path) -> None:
    array = np.zeros((18, 15, 12), np.float32)
    array[4:14, 3:12, 2:11] = blob((10, 9, 9))[0] + 2
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    run, out = run_with(tmp_path, Preprocessing(crop="nonzero")), tmp_path / "out"
    predict_files(run, [tmp_path / "a.nii.gz"], out, wanted=ALL, device="cpu")
    share = nibabel.load(out / "probabilities" / "a.nii.gz").get_fdata()
    entropy = nibabel.load(out / "entropy" / "a.nii.gz").get_fdata()
    outside = np.ones(array.shape, bool)
    outside[4:14, 3:12, 2:11] = False
    np.testing.assert_allclose(share[outside], [[1, 0, 0]] * outside.sum())
    assert not entropy[outside].any()
    assert entropy[~outside].any()
    np.testing.assert_allclose(share.sum(-1), 1, atol=1.6 / 255)


def test_a_full_disk_is_said_before_the_work_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    path, out = scan_file(tmp_path / "a.nii.gz"), tmp_path / "out"
    with pytest.raises(SimcvdError, match=r"No space left on device\. Make room"):
        predict_files(run_with(tmp_path, Preprocessing()), [path], out, wanted=ALL, device="cpu")
    assert [p for p in out.rglob("*") if p.is_file()] == []


def big() -> tuple[Model, Volume]:
    scan = Volume(array=np.zeros((1, 64, 64, 64), np.float32), affine=np.eye(4))
    return Model(network=small_vnet(), spec=spec(patch=(32, 32, 32), stride=(16, 16, 16))), scan


def test_windows_are_fewer_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    model, scan = big()
    how = Compute(windows_per_batch=8).windows(model)
    shape = (64, 64, 64)
    one = memory.needed(model, scan, shape, dataclasses.replace(how, windows_per_batch=2))
    monkeypatch.setattr(memory, "free_memory", lambda _: one)
    assert memory.fitted(model, scan, shape, how).batch == 2
    monkeypatch.setattr(memory, "free_memory", lambda _: 10**12)
    assert memory.fitted(model, scan, shape, how).batch == 8
    monkeypatch.setattr(memory, "free_memory", lambda _: 10**6)
    with pytest.raises(SimcvdError, match=r"GB of memory beyond the scan's own, but 0\.0 GB"):
        memory.fitted(model, scan, shape, how)
