"""DICOM series: the same voxels in the same world as every other format, or a clear refusal."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from tests.data.dicom_series import LPS, write_series, write_slice

from simcvd.formats import dicom_codec, dicom_tags, read_image, spacing_of, stem_of
from simcvd.formats.dicom_files import files_below, find_series
from simcvd.types import SimcvdError

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (7, 6, 5)).astype(np.int16)
C, S = np.cos(0.3), np.sin(0.3)
# Turned about two axes, anisotropic, and with a slice normal that points to the feet.
TURN = np.array([[C, -S, 0], [S, C, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, C, -S], [0, S, C]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN * [0.7, 0.9, 2.5]
OBLIQUE[:3, 3] = [10, -20, 30]
STRAIGHT = np.diag([-1.0, -1.0, 2.0, 1.0])  # rows and columns along ITK's axes, 2 mm apart


def save_as(path: Path, affine: np.ndarray) -> Path:
    """VOXELS as a NIfTI, NRRD or MHA file, or as a DICOM series in a folder."""
    if ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(VOXELS, affine), path)
    elif not path.suffix:
        write_series(path, VOXELS, affine)
    else:
        lps = LPS @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image = SimpleITK.GetImageFromArray(VOXELS.T.copy())
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        SimpleITK.WriteImage(image, str(path))
    return path


def value_at(path: Path, world: np.ndarray) -> float:
    """The voxel at a point of the world, RAS mm."""
    volume = read_image(path)
    index = np.linalg.inv(volume.affine) @ [*world, 1]
    assert np.allclose(index, np.rint(index), atol=1e-3)
    return float(volume.array[(0, *np.rint(index[:3]).astype(int))])


@pytest.mark.parametrize("flip", [1, -1])
def test_one_scan_in_four_formats_is_the_same_in_the_world(tmp_path: Path, flip: int) -> None:
    affine = OBLIQUE @ np.diag([1, 1, flip, 1])
    paths = [save_as(tmp_path / name, affine) for name in ("a.nii.gz", "a.nrrd", "a.mha", "dcm")]
    for index in np.random.default_rng(1).integers(0, VOXELS.shape, (20, 3)):
        world = (affine @ [*index, 1])[:3]
        assert [value_at(path, world) for path in paths] == [VOXELS[tuple(index)]] * 4
    series = read_image(paths[-1])
    assert series.array.dtype == np.float32
    if np.linalg.det(affine) > 0:  # as for a series, then also the slices' order is the same
        assert np.array_equal(series.array[0], VOXELS)
        assert np.allclose(series.affine, affine, atol=1e-5)
    assert series.notes == ()


def test_simpleitks_own_series_reader_agrees(tmp_path: Path) -> None:
    folder = save_as(tmp_path / "dcm", OBLIQUE)
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    theirs = SimpleITK.ReadImage(names)
    ours = read_image(folder)
    assert np.array_equal(SimpleITK.GetArrayFromImage(theirs).T, ours.array[0])
    last = np.array(theirs.GetSize()) - 1
    world = ours.affine @ [*last.tolist(), 1]
    lps = theirs.TransformIndexToPhysicalPoint(last.tolist())
    assert np.allclose(LPS[:3, :3] @ lps, world[:3], atol=1e-4)


def test_rescaled_units_slice_by_slice(tmp_path: Path) -> None:
    slopes = (1.0, 0.25, 2.0)  # as PET scanners write them
    for z, slope in enumerate(slopes):
        path = write_slice(tmp_path / f"{z}.dcm", VOXELS[:, :, z], (0, 0, 2 * z))
        data = pydicom.dcmread(path)
        data.RescaleSlope, data.RescaleIntercept = slope, -10
        data.save_as(path)
    assert np.array_equal(read_image(tmp_path).array[0], VOXELS[:, :, :3] * slopes - 10)


def test_several_series_in_one_folder_are_several_scans(tmp_path: Path) -> None:
    write_series(tmp_path / "all", VOXELS, STRAIGHT)
    for path in write_series(tmp_path / "b", -VOXELS, STRAIGHT, t0020x000e="1.2.3.5"):
        path.rename(tmp_path / "all" / f"b{path.name}")
    with pytest.raises(SimcvdError, match=r"2 DICOM series: .*all#1\.2\.3\.4 \(5 files\)"):
        read_image(tmp_path / "all")
    found = find_series(files_below(tmp_path / "all")).series
    assert [s.path.name for s in found] == ["all#1.2.3.4", "all#1.2.3.5"]
    assert stem_of(found[0].path) == "all_1.2.3.4"
    assert np.array_equal(read_image(found[0].path).array[0], VOXELS)
    assert np.array_equal(read_image(found[1].path).array[0], -VOXELS)
    assert np.array_equal(read_image(tmp_path / "all" / "bIM0000.dcm").array[0], -VOXELS)


def test_a_series_spread_over_folders_is_one_scan(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p" / "d0", VOXELS, STRAIGHT)
    for path in paths[::2]:
        (tmp_path / "p" / "d1").mkdir(exist_ok=True)
        path.rename(tmp_path / "p" / "d1" / path.stem)  # nor is an ending needed
    (tmp_path / "p" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert np.array_equal(read_image(tmp_path / "p").array[0], VOXELS)


def test_slices_that_are_there_twice_count_once(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOXELS, STRAIGHT)
    shutil.copy(paths[2], tmp_path / "copy.dcm")
    volume = read_image(tmp_path)
    assert np.array_equal(volume.array[0], VOXELS)
    assert "1 slices were there twice" in volume.notes[0]


def test_two_scans_in_one_series_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, STRAIGHT)
    for path in write_series(tmp_path / "echo", VOXELS + 1, STRAIGHT):
        path.rename(tmp_path / f"echo{path.name}")
    with pytest.raises(SimcvdError, match=r"lie at one place but differ.*phases, echoes"):
        read_image(tmp_path)


def test_missing_slices_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOXELS, STRAIGHT)
    paths[1].unlink()
    paths[2].unlink()
    write_slice(tmp_path / "more1.dcm", VOXELS[:, :, 0], (0, 0, 10))
    with pytest.raises(SimcvdError, match=r"about 2 slices are missing.*6 mm between"):
        read_image(tmp_path)


def test_uneven_spacing_is_interpolated_and_said(tmp_path: Path) -> None:
    depths = [0.0, 2.0, 4.0, 5.0, 7.0]
    ramp = np.broadcast_to(np.array(depths) * 10, (7, 6, 5))
    shifts = [(0, 0, d - 2 * z) for z, d in enumerate(depths)]
    write_series(tmp_path, ramp, STRAIGHT, shifts=shifts)
    volume = read_image(tmp_path)
    assert spacing_of(volume.affine) == pytest.approx((1, 1, 2))
    assert volume.array[0, 3, 3].tolist() == pytest.approx([0, 20, 40, 60])
    assert "1 to 2 mm apart; they were interpolated linearly at 2 mm" in volume.notes[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_gantry_tilt_is_resampled_to_a_right_angle(tmp_path: Path, sign: int) -> None:
    """A rod along the world's z axis, seen by slices that each lie 0.5 mm further on, stays one."""
    tilt = sign * 0.5
    x, y = np.meshgrid(np.arange(12.0), np.arange(16.0), indexing="ij")
    stack = np.stack(
        [1000 * np.exp(-((x - 6) ** 2 + (y + tilt * z - 8) ** 2) / 6) for z in range(6)], axis=-1
    )
    write_series(tmp_path, stack, STRAIGHT, shifts=[(0, tilt * z, 0) for z in range(6)])
    volume = read_image(tmp_path)
    angle = np.degrees(np.arctan(0.25))
    assert f"gantry tilt of {angle:.1f} degrees" in volume.notes[0]
    columns = volume.affine[:3, :3] / spacing_of(volume.affine)
    assert np.allclose(columns.T @ columns, np.eye(3), atol=1e-6)
    weights = volume.array[0] - volume.array.min()
    for z in range(6):
        plane = weights[:, :, z]
        centre = [(plane * g).sum() / plane.sum() for g in np.indices(plane.shape)]
        lps = LPS @ volume.affine @ [*centre, z, 1]
        assert lps[:3] == pytest.approx([6, 8, 2 * z], abs=0.05)


def test_slices_on_no_line_are_refused(tmp_path: Path) -> None:
    shifts = [(0, 3.0 if z == 2 else 0.4 * z, 0) for z in range(5)]
    write_series(tmp_path, VOXELS, STRAIGHT, shifts=shifts)
    with pytest.raises(SimcvdError, match="do not lie on one line"):
        read_image(tmp_path)


def test_several_patients_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, STRAIGHT)
    other = {"t0010x0020": "P2", "t0020x000e": "9.9"}
    for path in write_series(tmp_path / "b", VOXELS, STRAIGHT, **other):
        path.rename(tmp_path / f"b{path.name}")
    with pytest.raises(SimcvdError, match=r"2 patients .*Give every patient a folder") as caught:
        read_image(tmp_path)
    assert "P2" not in str(caught.value)  # a PatientID does not belong into a log


def test_slices_of_two_kinds_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS, STRAIGHT)
    write_slice(tmp_path / "coronal.dcm", VOXELS[:, :, 0], (0, 0, 0), (1, 0, 0, 0, 0, 1))
    with pytest.raises(SimcvdError, match=r"2 sizes, orientations .*\(5, 1 slices\)"):
        read_image(tmp_path)


def test_colour_and_2d_images_are_refused(tmp_path: Path) -> None:
    colour = SimpleITK.GetImageFromArray(np.zeros((6, 7, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(colour, str(tmp_path / "colour.dcm"))
    with pytest.raises(SimcvdError, match="a colour series"):
        read_image(tmp_path / "colour.dcm")
    write_slice(tmp_path / "flat" / "a.dcm", VOXELS[:, :, 0], (0, 0, 0))
    with pytest.raises(SimcvdError, match="a 2D image"):
        read_image(tmp_path / "flat")
    shutil.copy(tmp_path / "flat" / "a.dcm", tmp_path / "flat" / "b.dcm")
    with pytest.raises(SimcvdError, match="a 2D image"):
        read_image(tmp_path / "flat")


def test_slices_that_do_not_say_where_they_lie_are_refused(tmp_path: Path) -> None:
    for path in write_series(tmp_path, VOXELS, STRAIGHT):
        data = pydicom.dcmread(path)
        del data.ImagePositionPatient
        data.save_as(path)
    with pytest.raises(SimcvdError, match=r"5 of 5 files.* do not say where they lie"):
        read_image(tmp_path)


def test_a_multi_frame_file_is_refused(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(VOXELS.astype(np.uint8))
    SimpleITK.WriteImage(image, str(tmp_path / "a.dcm"))
    with pytest.raises(SimcvdError, match=r"multi-frame .* of 7 frames.*dcm2niix"):
        read_image(tmp_path)


def test_scouts_and_reports_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path / "s", VOXELS, STRAIGHT)
    scout = {"t0008x0008": "ORIGINAL\\PRIMARY\\LOCALIZER", "t0020x000e": "7.7"}
    write_slice(tmp_path / "s" / "scout.dcm", VOXELS[:, :, 0], (0, 0, 0), **scout)
    report = pydicom.dcmread(tmp_path / "s" / "scout.dcm")
    del report.PixelData
    report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID
    report.save_as(tmp_path / "s" / "report.dcm")
    assert np.array_equal(read_image(tmp_path / "s").array[0], VOXELS)
    notes = find_series(files_below(tmp_path)).notes
    assert "1 DICOM file hold no scan" in notes[0]
    assert "are localizers" in notes[1]


def test_compressed_series(tmp_path: Path) -> None:
    for path in write_series(tmp_path, VOXELS, STRAIGHT):
        data = pydicom.dcmread(path)
        data.compress(pydicom.uid.RLELossless)
        data.save_as(path)
    assert np.array_equal(read_image(tmp_path).array[0], VOXELS)


def test_a_codec_that_is_missing_is_named(tmp_path: Path) -> None:
    for path in write_series(tmp_path, VOXELS, STRAIGHT):
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
        data.PixelData = pydicom.encaps.encapsulate([b"no voxels, but a film"])
        data["PixelData"].is_undefined_length = True
        data.save_as(path)
    with pytest.raises(SimcvdError, match=r"compressed as MPEG.*4\.100.*pip install simcvd\[dicom"):
        read_image(tmp_path)


def test_pydicoms_codecs_are_taken_where_itk_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = write_series(tmp_path, VOXELS, STRAIGHT)

    def no_codec(*_: object, **__: object) -> None:
        raise RuntimeError("no codec")

    expected = dicom_codec.plane(str(first))
    monkeypatch.setattr(SimpleITK, "ReadImage", no_codec)
    assert np.array_equal(dicom_codec.plane(str(first)), expected)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, VOXELS, STRAIGHT)
    os.truncate(paths[0], 400)
    with pytest.raises(SimcvdError, match=rf"{paths[0].name}: cannot be read as DICOM.*400 bytes"):
        read_image(tmp_path)


def test_tags_without_end_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros are empty tags, and a sparse file holds any number of them."""
    monkeypatch.setattr(dicom_tags, "MOST_READS", 1000)
    with (tmp_path / "a.dcm").open("wb") as file:
        file.truncate(10**11)
    with pytest.raises(SimcvdError, match="cannot be read as DICOM"):
        dicom_tags.read_tags(tmp_path / "a.dcm")


def test_a_folder_without_a_series(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="holds no DICOM series"):
        read_image(tmp_path)
    write_series(tmp_path, VOXELS, STRAIGHT)
    with pytest.raises(SimcvdError, match="holds no DICOM series"):
        read_image(tmp_path.with_name(f"{tmp_path.name}#9.9"))


@pytest.mark.parametrize("compressed", [False, True])
def test_monochrome1_keeps_its_numbers(tmp_path: Path, compressed: bool) -> None:
    """It says how a viewer shows them; ITK inverts the stored ones before it rescales."""
    for path in write_series(tmp_path, VOXELS, STRAIGHT):
        data = pydicom.dcmread(path)
        data.PhotometricInterpretation = "MONOCHROME1"
        if compressed:
            data.compress(pydicom.uid.RLELossless)
        data.save_as(path)
    assert np.array_equal(read_image(tmp_path).array[0], VOXELS)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
@pytest.mark.parametrize("ending", [".dcm", ""])
def test_files_without_preamble_are_read(tmp_path: Path, syntax: str, ending: str) -> None:
    """A bare data set, implicit or explicit, with an ending that says DICOM or with none."""
    for path in write_series(tmp_path, VOXELS, STRAIGHT):
        data = pydicom.dcmread(path)
        implicit = syntax == "1.2.840.10008.1.2"
        data.file_meta, data.preamble = pydicom.dataset.FileMetaDataset(), None
        data.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
        path.rename(path.with_suffix(ending))
    assert np.array_equal(read_image(tmp_path).array[0], VOXELS)


def test_big_endian_and_unused_bits(tmp_path: Path) -> None:
    """12 of 16 bits are used; what stands in the other four (overlays once) is no intensity."""
    twelve = np.abs(VOXELS) % 2048
    for path in write_series(tmp_path, twelve, STRAIGHT):
        data = pydicom.dcmread(path)
        data.BitsStored, data.HighBit = 12, 11
        stored = np.frombuffer(data.PixelData, "<i2") | np.int16(0x7000)
        data.PixelData = stored.astype(">i2").tobytes()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=False)
    assert np.array_equal(read_image(tmp_path).array[0], twelve)


def test_a_damaged_file_stops_its_own_series_alone(tmp_path: Path) -> None:
    write_series(tmp_path / "p1", VOXELS, STRAIGHT)
    bad = write_series(tmp_path / "p2", VOXELS, STRAIGHT, t0020x000e="5.5")[1]
    os.truncate(bad, 300)
    found = {s.path.name: s for s in find_series(files_below(tmp_path)).series}
    assert found["p1"].problems == ()
    assert bad.name in found["p2"].problems[0]
    assert np.array_equal(read_image(tmp_path / "p1").array[0], VOXELS)
    with pytest.raises(SimcvdError, match=f"{bad.name}: cannot be read as DICOM"):
        read_image(tmp_path / "p2")
    (tmp_path / "p3").mkdir()
    bad.rename(tmp_path / "p3" / "alone.dcm")  # of no series at all: a scan that is refused
    with pytest.raises(SimcvdError, match=r"alone\.dcm: cannot be read as DICOM"):
        read_image(tmp_path / "p3")


def test_a_truncated_slice_is_named(tmp_path: Path) -> None:
    path = write_series(tmp_path, VOXELS, STRAIGHT)[2]
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(SimcvdError, match=f"{path.name}: cannot be read.*copy it again"):
        read_image(tmp_path)


def rewritten(paths: list[Path], **tags: str | None) -> None:
    for path in paths:
        data = pydicom.dcmread(path)
        for name, value in tags.items():
            if value is None:
                delattr(data, name)
            else:
                setattr(data, name, value)
        data.save_as(path)


def test_folders_of_slices_without_a_uid_are_scans_of_their_own(tmp_path: Path) -> None:
    for number, name in enumerate(("p0", "p1")):
        affine = STRAIGHT.copy()
        affine[2, 3] = 100.0 * number
        paths = write_series(tmp_path / name, VOXELS + number, affine)
        rewritten(paths, SeriesInstanceUID=None, PatientID="")
    found = find_series(files_below(tmp_path)).series
    assert [s.name for s in found] == ["p0", "p1"]
    assert np.array_equal(read_image(tmp_path / "p1").array[0], VOXELS + 1)


def test_one_uid_for_several_patients_is_told_by_study_or_refused(tmp_path: Path) -> None:
    """Stacked end to end they would read as one scan of ten slices."""
    studies = {"same": ("1.2.3", "1.2.3"), "own": ("1.2.3", "1.2.4")}
    for name, uids in studies.items():
        for number, study in enumerate(uids):
            affine = STRAIGHT.copy()
            affine[2, 3] = 10.0 * number
            paths = write_series(tmp_path / name / f"p{number}", VOXELS, affine)
            for instance, path in enumerate(paths):
                rewritten([path], StudyInstanceUID=study, InstanceNumber=str(instance))
    own = find_series(files_below(tmp_path / "own")).series
    assert [(s.path.name, len(s.slices)) for s in own] == [("p0", 5), ("p1", 5)]
    with pytest.raises(SimcvdError, match=r"p0 and .*p1: their DICOM files have one SeriesInst"):
        read_image(tmp_path / "same")
    assert np.array_equal(read_image(tmp_path / "same" / "p0").array[0], VOXELS)


def test_series_of_one_folder_are_called_by_their_numbers(tmp_path: Path) -> None:
    """Counted within the folder: another patient's series of that number changes nothing."""
    for patient in ("a", "b"):
        for number, uid in (("3", "1"), ("4", "2")):
            tags = {"t0020x0011": number, "t0020x000e": f"{uid}.{ord(patient)}"}
            tags["t0010x0020"] = patient
            for path in write_series(tmp_path / "new", VOXELS, STRAIGHT, **tags):
                (tmp_path / "all" / patient).mkdir(parents=True, exist_ok=True)
                path.rename(tmp_path / "all" / patient / f"{number}{path.name}")
    names = [s.name for s in find_series(files_below(tmp_path / "all")).series]
    assert names == ["a_3", "a_4", "b_3", "b_4"]


@pytest.mark.parametrize("number", ["1/../../../victim", "../x", "", "-1"])
def test_a_series_number_never_becomes_a_path(tmp_path: Path, number: str) -> None:
    for uid in ("1.1", "1.2"):
        for path in write_series(tmp_path / "new", VOXELS, STRAIGHT, t0020x000e=uid):
            rewritten([path], SeriesNumber=None)
            data = pydicom.dcmread(path)
            data.add_new("SeriesNumber", "LO", number)
            data.save_as(path)
            (tmp_path / "all").mkdir(exist_ok=True)
            path.rename(tmp_path / "all" / f"{uid}{path.name}")
    names = [s.name for s in find_series(files_below(tmp_path / "all")).series]
    assert names == ["all_1.1", "all_1.2"]
