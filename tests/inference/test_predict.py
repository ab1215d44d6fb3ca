"""`predict_files`: each scan's own geometry and values, and one bad file stops no other."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
from rich.console import Console
from tests.inference.tools import OBLIQUE, blob, small_vnet, spec

from simcvd.formats import read_image
from simcvd.inference.compute import Compute, pick_device
from simcvd.inference.inputs import jobs
from simcvd.inference.model import load_model, save_model
from simcvd.inference.predict import predict_files
from simcvd.inference.scan import predict_scan, restore_values
from simcvd.types import SimcvdError, Volume


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_model(tmp_path / "run", small_vnet(), spec())
    return tmp_path / "run"


def write(path: Path, seed: int = 0, shape: tuple[int, int, int] = (18, 15, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(blob(shape, seed)[0], OBLIQUE)
    image.set_qform(OBLIQUE, code=1)
    image.set_sform(OBLIQUE, code=2)
    nibabel.save(image, path)
    return path


def test_written_in_the_inputs_geometry_with_the_users_values(run: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "scans" / "heart.nii.gz")
    (written,) = predict_files(run, [path], tmp_path / "out", device="cpu")
    assert written == tmp_path / "out" / "heart.nii.gz"
    source, result = nibabel.load(path), nibabel.load(written)
    assert result.shape == source.shape
    np.testing.assert_array_equal(result.affine, source.affine)
    for form in ("qform", "sform"):
        assert result.header[f"{form}_code"] == source.header[f"{form}_code"]
    labels = np.asarray(result.dataobj)
    assert set(np.unique(labels)) <= {0, 420, 600}
    assert len(np.unique(labels)) > 1
    assert labels.dtype == np.int16
    compute = Compute()
    again = predict_scan(load_model(run), read_image(path), compute)
    np.testing.assert_array_equal(labels, again)


def test_without_a_terminal_each_scan_has_one_line(run: Path, tmp_path: Path) -> None:
    paths = [write(tmp_path / "whole.nii.gz"), write(tmp_path / "thin.nii.gz", shape=(18, 15, 6))]
    said = io.StringIO()
    predict_files(run, paths, tmp_path / "out", device="cpu", console=Console(file=said, width=40))
    thin, whole = sorted(said.getvalue().splitlines())
    assert whole.startswith("whole: 18 x 15 x 12 voxels, needs ")
    assert thin.startswith("thin: 18 x 15 x 6 voxels, filled up with 0 to the patch of 8 x 8 x 8, ")


def test_windows_are_tapered_unless_a_stride_is_asked_for(run: Path) -> None:
    model = load_model(run)
    own, asked = Compute().windows(model), Compute(stride=model.spec.stride).windows(model)
    assert own.stride == asked.stride
    assert (own.tapered, asked.tapered) == (True, False)


def test_another_stride_is_used(run: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz")
    masks = []
    for stride in (None, (1, 2, 4)):
        (written,) = predict_files(run, [path], tmp_path / str(stride), stride=stride, device="cpu")
        masks.append(np.asarray(nibabel.load(written).dataobj))
    assert (masks[0] != masks[1]).any()
    with pytest.raises(SimcvdError, match=r"stride \(9, 1, 1\) is larger than the patch"):
        predict_files(run, [path], tmp_path / "out", stride=(9, 1, 1), device="cpu")


def test_fast_takes_fewer_windows_that_weigh_less_towards_their_border(
    run: Path, tmp_path: Path
) -> None:
    path, model = write(tmp_path / "a.nii.gz"), load_model(run)
    (written,) = predict_files(run, [path], tmp_path / "fast", device="cpu", fast=True)
    fast = np.asarray(nibabel.load(written).dataobj)
    how = Compute(fast=True).windows(model)
    assert how.tapered
    assert how.stride == tuple(3 * p // 4 for p in model.spec.patch)
    ways = [Compute(fast=True), Compute(stride=how.stride), Compute()]
    same, plain, own = (predict_scan(model, read_image(path), way) for way in ways)
    np.testing.assert_array_equal(fast, same)
    assert (fast != plain).any()
    assert (fast != own).any()
    with pytest.raises(SimcvdError, match="either --fast or --stride"):
        predict_files(run, [path], tmp_path / "out", stride=(1, 1, 1), fast=True)


def test_bad_scans_are_all_named_and_the_good_ones_are_done(run: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    good = [write(scans / "a.nii.gz"), write(scans / "z.nii.gz", seed=1)]
    whole = good[0].read_bytes()
    (scans / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    (scans / "c.nii.gz").write_bytes(b"")
    two = np.stack([blob()[0]] * 2, -1)
    nibabel.save(nibabel.Nifti1Image(two, OBLIQUE), scans / "d.nii.gz")
    with pytest.raises(SimcvdError) as caught:
        predict_files(run, [scans], tmp_path / "out", device="cpu")
    message = str(caught.value)
    assert message.startswith("3 of 5 scans could not be segmented")
    for name in "bcd":
        assert str(scans / f"{name}.nii.gz") in message
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".rows",
        "a.nii.gz",
        "predictions.csv",
        "z.nii.gz",
    ]


def test_a_failed_write_leaves_nothing_behind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "scans" / "a.nii.gz")

    def full(_image: object, filename: Path) -> None:
        Path(filename).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nibabel, "save", full)
    with pytest.raises(SimcvdError, match="No space left"):
        predict_files(run, [path], tmp_path / "out", device="cpu")
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_outputs_that_would_collide_are_refused(tmp_path: Path) -> None:
    pair = [tmp_path / "a" / "scan.nii.gz", tmp_path / "b" / "scan.nrrd"]
    with pytest.raises(SimcvdError, match=r"scan\.nii\.gz and .*scan\.nrrd would both be written"):
        jobs(pair, tmp_path / "out")
    with pytest.raises(SimcvdError, match="would overwrite it"):
        jobs(pair[:1], tmp_path / "a")


def test_nothing_to_do_is_said(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SimcvdError, match="no scan in this folder"):
        predict_files(run, [tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(SimcvdError, match="no scan was given"):
        predict_files(run, [], tmp_path / "out")
    with pytest.raises(SimcvdError, match="there is no such file"):
        predict_files(run, [tmp_path / "absent.nii.gz"], tmp_path / "out")


@pytest.mark.parametrize("device", ["gpu", "mps", "meta", "cpu:-1", ""])
def test_only_devices_that_networks_are_run_on_are_taken(device: str) -> None:
    with pytest.raises(SimcvdError, match=f"no device '{device}'; give auto, cpu, cuda or cuda:N"):
        pick_device(device)


def test_a_device_that_is_not_here_is_refused_in_a_line() -> None:
    with pytest.raises(SimcvdError, match=r"'cuda:99' cannot be used \(.*\); try") as refused:
        pick_device("cuda:99")
    assert "\n" not in str(refused.value)


def test_channels_that_do_not_fit_are_refused(run: Path) -> None:
    two = Volume(array=np.concatenate([blob(), blob()]), affine=np.eye(4))
    with pytest.raises(SimcvdError, match=r"\(2, 18, 15, 12\), but the model needs \[1, X, Y, Z\]"):
        predict_scan(load_model(run), two)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [({0: 0, 1: 255}, np.uint8), ({0: 0, 1: 420}, np.int16), ({0: -7, 1: 70000}, np.int32)],
)
def test_values_are_restored_in_the_smallest_type(values: dict[int, int], dtype: type) -> None:
    restored = restore_values(np.array([0, 1, 1], np.uint8), values)
    assert restored.dtype == dtype
    assert restored.tolist() == [values[0], values[1], values[1]]
