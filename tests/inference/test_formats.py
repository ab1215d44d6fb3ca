"""Each format in, the same format out; the mask lies at one place in the world in all of them."""

from __future__ import annotations

import gzip
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import torch
from tests.data.dicom_series import write_series
from tests.inference.tools import OBLIQUE, SMALL, blob, small_vnet, spec

from simcvd.formats import read_label, write_label
from simcvd.formats.dicom_seg_write import concepts, writer
from simcvd.inference.inputs import jobs
from simcvd.inference.model import save_model
from simcvd.inference.predict import predict_files
from simcvd.networks.vnet import VNet
from simcvd.types import SimcvdError

SHAPE = (18, 15, 12)
PLAIN = np.diag([1.0, 1.0, 2.0, 1.0])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
FRAME = "1.2.826.0.1.3680043.2.1125.7"
TAGS = {"t0020x0052": FRAME, "t0010x0010": "Doe^J", "t0020x0010": "S1"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_model(tmp_path / "run", small_vnet(), spec())
    return tmp_path / "run"


def voxels(seed: int = 3) -> np.ndarray:
    return np.rint(100 * blob(SHAPE, seed)[0]).astype(np.int16)


def in_every_format(folder: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """One scan as NIfTI, NRRD, MHA and, in a nested folder, a DICOM series."""
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(array, affine), folder / "nifti.nii.gz")
    for name in ("itk.nrrd", "meta.mha"):
        write_label(folder / name, array, affine)
    write_series(folder / "nested" / "dicom", array, affine, **TAGS)


def centroids(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """``[classes, 3]`` mm, RAS+, of the values above 0."""
    found = [np.argwhere(labels == v).mean(0) for v in np.unique(labels) if v > 0]
    return np.array([(affine @ [*centre, 1])[:3] for centre in found])


def seg_labels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels ``[X, Y, Z]`` and RAS+ affine of a DICOM segmentation, as highdicom reads it."""
    volume = highdicom.seg.segread(path).get_volume(
        combine_segments=True, allow_missing_positions=True
    )
    affine = LPS @ volume.affine[:, [2, 1, 0, 3]]
    return volume.array.T, affine


def as_ras(labels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(labels.astype(np.int16), affine))
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize("affine", [PLAIN, OBLIQUE], ids=["plain", "oblique"])
def test_a_scan_in_any_format_gets_the_same_mask_in_its_format(
    run: Path, tmp_path: Path, affine: np.ndarray
) -> None:
    in_every_format(tmp_path / "scans", voxels(), affine)
    written = predict_files(run, [tmp_path / "scans"], tmp_path / "out", device="cpu")
    assert sorted(p.name for p in written) == ["dicom.dcm", "itk.nrrd", "meta.mha", "nifti.nii.gz"]
    mask = np.asarray(nibabel.load(tmp_path / "out" / "nifti.nii.gz").dataobj)
    assert set(np.unique(mask)) == {0, 420, 600}
    for name in ("itk.nrrd", "meta.mha"):
        label = read_label(tmp_path / "out" / name)
        np.testing.assert_array_equal(label.array, mask)
        np.testing.assert_allclose(label.affine, affine, atol=1e-4)
        source, result = (SimpleITK.ReadImage(str(tmp_path / d / name)) for d in ("scans", "out"))
        for part in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
            own, given = (getattr(image, part)() for image in (source, result))
            np.testing.assert_allclose(own, given, rtol=1e-15, atol=1e-15, err_msg=part)
    labels, place = seg_labels(tmp_path / "out" / "dicom.dcm")
    found, found_affine = as_ras(np.array([0, 420, 600])[labels], place)
    expected, expected_affine = as_ras(mask, affine)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found_affine, expected_affine, atol=1e-3)


def test_a_dicom_segmentation_refers_to_its_series(run: Path, tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct", voxels(), OBLIQUE, **TAGS)
    (written,) = predict_files(run, [tmp_path / "ct"], tmp_path / "out", device="cpu")
    (nifti,) = predict_files(
        run, [tmp_path / "ct"], tmp_path / "nifti", format="nifti", device="cpu"
    )
    seg = pydicom.dcmread(written)
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in series]
    assert seg.FrameOfReferenceUID == FRAME
    assert seg.StudyInstanceUID == sources[0].StudyInstanceUID
    assert seg.PatientID == "P1"
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == sources[0].SeriesInstanceUID
    uids = {source.SOPInstanceUID: source for source in sources}
    assert {i.ReferencedSOPInstanceUID for i in referenced.ReferencedInstanceSequence} == set(uids)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        origin = frame.DerivationImageSequence[0].SourceImageSequence[0]
        source = uids[origin.ReferencedSOPInstanceUID]
        own = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(
            [float(v) for v in own],
            [float(v) for v in source.ImagePositionPatient],
            atol=1e-3,
        )
    segments = highdicom.seg.segread(written).get_segment_description
    assert [segments(k).segment_label for k in (1, 2)] == ["wall", "blood"]
    assert [segments(k).SegmentDescription for k in (1, 2)] == [
        "label value 420",
        "label value 600",
    ]
    label = read_label(nifti)
    apart = centroids(*seg_labels(written)) - centroids(label.array, label.affine)
    assert np.linalg.norm(apart, axis=1).max() < 0.5 * 0.9  # half of the smallest voxel side


def test_a_series_put_right_gives_a_segmentation_on_the_corrected_grid(
    run: Path, tmp_path: Path
) -> None:
    tilt = [[0, 0.8 * z, 0] for z in range(SHAPE[2])]
    write_series(tmp_path / "ct", voxels(), PLAIN, shifts=tilt, **TAGS)
    (written,) = predict_files(run, [tmp_path / "ct"], tmp_path / "out", device="cpu")
    (nifti,) = predict_files(
        run, [tmp_path / "ct"], tmp_path / "nifti", format="nifti", device="cpu"
    )
    label = read_label(nifti)
    assert label.array.shape[1] > SHAPE[1]
    apart = centroids(*seg_labels(written)) - centroids(label.array, label.affine)
    assert np.linalg.norm(apart, axis=1).max() < 0.1
    seg = pydicom.dcmread(written)
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == SHAPE[2]


def test_any_scan_in_a_chosen_format(run: Path, tmp_path: Path) -> None:
    in_every_format(tmp_path / "scans", voxels(), PLAIN)
    (tmp_path / "plain.nii").write_bytes(
        gzip.decompress((tmp_path / "scans" / "nifti.nii.gz").read_bytes())
    )
    inputs = [tmp_path / "scans", tmp_path / "plain.nii"]
    for name, ending in (("nifti", ".nii.gz"), ("seg-nrrd", ".seg.nrrd"), ("mha", ".mha")):
        written = predict_files(run, inputs, tmp_path / name, format=name, device="cpu")
        assert len(written) == 5
        masks = [read_label(p) for p in written]
        assert all(p.name.endswith(ending) for p in written)
        first = as_ras(masks[0].array, masks[0].affine)[0]
        for mask in masks[1:]:
            np.testing.assert_array_equal(as_ras(mask.array, mask.affine)[0], first)


def test_what_makes_no_dicom_segmentation_is_said(run: Path, tmp_path: Path) -> None:
    in_every_format(tmp_path / "scans", voxels(), PLAIN)
    with pytest.raises(SimcvdError, match=r"is not a DICOM series.*choose another --format"):
        predict_files(run, [tmp_path / "scans"], tmp_path / "out", format="dicom-seg")
    with pytest.raises(SimcvdError, match="format 'png' is none of"):
        predict_files(run, [tmp_path / "scans"], tmp_path / "out", format="png")
    assert not (tmp_path / "out").exists()


def test_without_highdicom_the_package_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "ct", voxels(), PLAIN, **TAGS)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(SimcvdError, match=r"highdicom: pip install 'simcvd\[dicom\]'"):
        predict_files(run, [tmp_path / "ct"], tmp_path / "out", device="cpu")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_patients_in_one_folder_are_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ct"
    write_series(folder, voxels(), PLAIN, **TAGS)
    other = write_series(tmp_path / "other", voxels(4), PLAIN, t0010x0020="P2", **TAGS)
    other[0].rename(folder / "stray.dcm")
    with pytest.raises(SimcvdError, match="DICOM files of 2 patients"):
        predict_files(run, [folder], tmp_path / "out", device="cpu")


def test_class_names_find_their_codes() -> None:
    assert concepts("left atrium")[1].value == "82471001"
    assert concepts("Pancreas")[1].value == "15776009"
    category, kind = concepts("neoplasm")
    assert (category.value, kind.value) == ("49755003", "108369006")
    assert concepts("blob")[1].value == "91723000"  # an anatomical structure, no more


def test_channels_in_files_of_their_own_are_one_scan(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = VNet(**{**SMALL, "channels": 2})
    model = spec(network={**SMALL, "channels": 2})
    save_model(tmp_path / "two", network, model)
    for c in (0, 1):
        array = voxels(c).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(array, PLAIN), tmp_path / f"a_000{c}.nii.gz")
    both = [tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"]
    (written,) = predict_files(tmp_path / "two", both, tmp_path / "out", device="cpu")
    assert written.name == "a.nii.gz"
    four = np.stack([voxels(0), voxels(1)], -1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(four, PLAIN), tmp_path / "b.nii.gz")
    (other,) = predict_files(
        tmp_path / "two", [tmp_path / "b.nii.gz"], tmp_path / "out", device="cpu"
    )
    np.testing.assert_array_equal(read_label(written).array, read_label(other).array)
    with pytest.raises(SimcvdError, match="volume with 2 channels is needed"):
        predict_files(tmp_path / "two", both[:1], tmp_path / "out", device="cpu")


def test_channels_are_not_taken_for_scans_by_a_model_of_one(tmp_path: Path) -> None:
    for name in ("a_0000", "a_0001", "b_0000", "b_0001"):
        write_label(tmp_path / "two" / f"{name}.nii.gz", voxels(), PLAIN)
    with pytest.raises(SimcvdError, match=r"all 2 scans have 2 files, _0000 to _0001.*needs 1"):
        jobs([tmp_path / "two"], tmp_path / "out")
    first = sorted((tmp_path / "two").glob("*_0000.nii.gz"))
    assert [job.name for job in jobs(first, tmp_path / "out").jobs] == ["a_0000", "b_0000"]
    counted = sorted((tmp_path / "two").glob("a_*"))  # one name: its numbers count scans
    assert len(jobs(counted, tmp_path / "out").jobs) == 2


def test_an_empty_result_is_a_dicom_segmentation_too(tmp_path: Path) -> None:
    network = small_vnet()
    torch.nn.init.zeros_(network.class_head.weight)
    with torch.no_grad():
        network.class_head.bias[:] = torch.tensor([5.0, 0, 0])
    save_model(tmp_path / "run", network, spec())
    write_series(tmp_path / "ct", voxels(), PLAIN, **TAGS)
    (written,) = predict_files(tmp_path / "run", [tmp_path / "ct"], tmp_path / "out", device="cpu")
    assert not seg_labels(written)[0].any()
    rows = (tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert rows == [
        "case,file,confidence,wall (ml),blood (ml),wall (pieces),blood (pieces)",
        "ct,ct.dcm,,0.000,0.000,0,0",
    ]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "a.dcm"])
def test_a_disk_that_fills_half_way_leaves_nothing_or_the_old_file(
    tmp_path: Path, name: str
) -> None:
    labels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    write_series(tmp_path / "ct", voxels(), PLAIN, **TAGS)
    segment, target = writer(tmp_path / "ct"), tmp_path / "out" / name

    def write() -> None:
        if name == "a.dcm":
            segment(target, labels, PLAIN, {0: "background", 1: "wall", 2: "blood"})
        else:
            write_label(target, labels, PLAIN)

    with room_for(400), pytest.raises(SimcvdError, match="cannot write"):
        write()
    assert list(target.parent.iterdir()) == []
    write()
    whole = target.read_bytes()
    with room_for(400), pytest.raises(SimcvdError, match="cannot write"):
        write()
    assert list(target.parent.iterdir()) == [target]
    assert target.read_bytes() == whole
