"""Variants of formats that programs write: the same voxels at the same place of the world."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from tests.formats.made import LPS, OBLIQUE, VOXELS, WRITERS, itk_image, make

from simcvd.formats import read_header, read_image, read_label, spacing_of, write_label
from simcvd.types import SimcvdError


@pytest.mark.parametrize("name", [name for name in WRITERS if not name.endswith((".h5", "dicom"))])
def test_every_variant_gives_the_same_voxels_in_the_same_world(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, VOXELS[None])
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)
    upper = path.with_name(path.name.upper())
    path.rename(upper)
    if name == "a.hdr":
        path.with_suffix(".img").rename(upper.with_suffix(".IMG"))
    np.testing.assert_array_equal(read_label(upper).array, VOXELS)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".hdr"])
def test_big_endian_nifti(tmp_path: Path, ending: str) -> None:
    kind = nibabel.Nifti1Pair if ending == ".hdr" else nibabel.Nifti1Image
    header = nibabel.Nifti1Header(endianness=">")
    image = kind(VOXELS.astype(">i2"), OBLIQUE, header)
    image.header.set_data_dtype(">i2")
    nibabel.save(image, tmp_path / f"a{ending}")
    volume = read_image(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(volume.array[0], VOXELS)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)


def test_big_endian_metaimage_and_nrrd(tmp_path: Path) -> None:
    for name, mark in (("a.mha", b"MSB = False"), ("a.nrrd", b"endian: little")):
        path = make(tmp_path, name)
        cut = len(path.read_bytes()) - VOXELS.nbytes
        header = path.read_bytes()[:cut]
        assert mark in header
        header = header.replace(b"MSB = False", b"MSB = True").replace(b"little", b"big")
        path.write_bytes(header + VOXELS.astype(">i2").tobytes("F"))
        np.testing.assert_array_equal(read_image(path).array[0], VOXELS)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1)])
def test_lengths_of_nifti_are_in_the_unit_that_it_states(
    tmp_path: Path, unit: str, factor: float
) -> None:
    affine = OBLIQUE.copy()
    affine[:3] *= factor
    image = nibabel.Nifti1Image(VOXELS, affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.affine, OBLIQUE, rtol=1e-6, atol=1e-6)
    assert len(volume.notes) == (unit != "mm")
    write_label(tmp_path / "p.nii.gz", VOXELS % 3, volume.affine, like=tmp_path / "a.nii.gz")
    written = nibabel.load(tmp_path / "p.nii.gz")
    np.testing.assert_array_equal(written.affine, nibabel.load(tmp_path / "a.nii.gz").affine)
    assert written.header.get_xyzt_units()[0] == unit


@pytest.mark.parametrize(("unit", "factor"), [("m", 1e-3), ("um", 1e3), ("cm", 0.1)])
def test_lengths_of_nrrd_are_in_the_unit_that_it_states(
    tmp_path: Path, unit: str, factor: float
) -> None:
    affine = OBLIQUE.copy()
    affine[:3] *= factor
    SimpleITK.WriteImage(itk_image(affine=affine), str(tmp_path / "a.nrrd"))
    units = f'space units: "{unit}" "{unit}" "{unit}"\n'.encode()
    data = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(data.replace(b"kinds:", units + b"kinds:"))
    np.testing.assert_allclose(read_image(tmp_path / "a.nrrd").affine, OBLIQUE, rtol=1e-6)


@pytest.mark.parametrize("ones", [(1,), (1, 1), (1, 1, 1)])
def test_trailing_axes_of_one_entry_say_nothing(tmp_path: Path, ones: tuple[int, ...]) -> None:
    array = VOXELS.reshape(*VOXELS.shape, *ones)
    nibabel.save(nibabel.Nifti1Image(array, OBLIQUE), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").array[0], VOXELS)
    np.testing.assert_array_equal(read_label(tmp_path / "a.nii").array, VOXELS)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_fourth_axis_of_itk_keeps_the_geometry(tmp_path: Path, name: str, count: int) -> None:
    joined = SimpleITK.JoinSeries([itk_image(VOXELS + c) for c in range(count)])
    SimpleITK.WriteImage(joined, str(tmp_path / name))
    volume = read_image(tmp_path / name, channels=count)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_array_equal(volume.array, [VOXELS + c for c in range(count)])


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".mhd", ".nhdr"])
def test_itk_agrees_on_any_orientation(tmp_path: Path, ending: str) -> None:
    """Turned, flipped and swapped axes: ITK's own reader places every corner where we do."""
    random = np.random.default_rng(4)
    for _ in range(12):
        turn = np.linalg.qr(random.normal(size=(3, 3)))[0][:, random.permutation(3)]
        affine = np.eye(4)
        affine[:3, :3] = turn * random.uniform(0.3, 4, 3) * random.choice([-1, 1], 3)
        affine[:3, 3] = random.normal(0, 50, 3)
        path = tmp_path / f"a{ending}"
        SimpleITK.WriteImage(itk_image(affine=affine), str(path))
        ours = read_image(path).affine
        theirs = SimpleITK.ReadImage(str(path))
        for corner in ((0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4), (6, 5, 4)):
            lps = theirs.TransformIndexToPhysicalPoint(corner)
            np.testing.assert_allclose(LPS[:3, :3] @ lps, (ours @ [*corner, 1])[:3], atol=1e-4)
        write_label(tmp_path / f"p{ending}", VOXELS % 2, affine)
        back = SimpleITK.ReadImage(str(tmp_path / f"p{ending}"))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(back).T, VOXELS % 2)
        for part in ("GetOrigin", "GetSpacing", "GetDirection"):
            np.testing.assert_allclose(getattr(back, part)(), getattr(theirs, part)(), atol=1e-9)


@pytest.mark.parametrize(
    ("space", "turn"),
    [
        ("right-anterior-superior", (1, 1)),
        ("left-anterior-superior", (-1, 1)),
        ("left-posterior-superior", (-1, -1)),
        ("RAS", (1, 1)),
    ],
)
def test_spaces_of_nrrd(tmp_path: Path, space: str, turn: tuple[int, int]) -> None:
    text = (
        f"NRRD0004\ntype: uint8\ndimension: 3\nspace: {space}\nsizes: 2 2 2\nencoding: raw\n"
        "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (5,6,7)\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(text.encode() + bytes(range(8)))
    x, y = turn
    expected = [[2 * x, 0, 0, 5 * x], [0, 3 * y, 0, 6 * y], [0, 0, 4, 7], [0, 0, 0, 1]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.nrrd").affine, expected)


def test_nrrd_without_a_space_and_with_text_voxels(tmp_path: Path) -> None:
    text = (
        "NRRD0001\n# a comment\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: text\n"
        "spacings: 2 3 4\naxis mins: 5 6 7\n\n0 1 2 3\n4 5 6 -7\n"
    )
    (tmp_path / "a.nrrd").write_text(text)
    volume = read_image(tmp_path / "a.nrrd")
    assert volume.array[0, :, 0, 0].tolist() == [0, 1]
    assert volume.array[0, 1, 1].tolist() == [3, -7]
    lps = [[2, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]]
    np.testing.assert_array_equal(volume.affine, LPS @ lps)


def quaternion(path: Path, length: float, sform: int) -> Path:
    """A NIfTI file whose quaternion, half a turn about x, is ``length`` long."""
    image = nibabel.Nifti1Image(VOXELS, None)
    image.set_sform(np.diag([1.0, -1, -1, 1]) if sform else None, code=sform)
    image.set_qform(np.diag([1.0, -1, -1, 1]), code=1)
    nibabel.save(image, path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<fff", data, 256, length, 0, 0)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("length", [1.000001, 1.0005])
@pytest.mark.parametrize("sform", [0, 1])
def test_a_quaternion_that_rounding_made_too_long(
    tmp_path: Path, length: float, sform: int
) -> None:
    volume = read_image(quaternion(tmp_path / "a.nii", length, sform))
    np.testing.assert_allclose(volume.affine, np.diag([1, -1, -1, 1]), atol=1e-3)
    assert "shortened to 1" in volume.notes[0]
    assert read_header(tmp_path / "a.nii").remarks == ()
    write_label(tmp_path / "p.nii", VOXELS % 2, volume.affine, like=tmp_path / "a.nii")
    nibabel.load(tmp_path / "p.nii").get_qform()


def test_a_quaternion_that_is_none(tmp_path: Path) -> None:
    assert "qform was left out" in read_image(quaternion(tmp_path / "a.nii", 1.5, 1)).notes[0]
    with pytest.raises(SimcvdError, match=r"quaternion .* 1\.5 long, .*there is no sform"):
        read_image(quaternion(tmp_path / "b.nii", 1.5, 0))


def test_the_other_half_of_a_pair(tmp_path: Path) -> None:
    path = make(tmp_path, "a.hdr")
    np.testing.assert_array_equal(read_image(path.with_suffix(".img")).array[0], VOXELS)
    path.with_suffix(".img").unlink()
    with pytest.raises(SimcvdError, match=r"its other half, a\.img, is not there"):
        read_image(path)
    path.write_bytes(path.read_bytes()[:344] + b"\0\0\0\0")
    with pytest.raises(SimcvdError, match=r"ANALYZE 7\.5"):
        read_image(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint32, np.float64])
def test_labels_are_integers_from_end_to_end(tmp_path: Path, dtype: type) -> None:
    """2**24 + 1 is the first whole number that float32 does not hold."""
    largest = 200 if dtype is np.uint8 else 2**24 + 1
    label = np.where(VOXELS > 400, largest, 0).astype(dtype)
    image = nibabel.Nifti1Image(label, OBLIQUE, dtype=dtype)
    nibabel.save(image, tmp_path / "a.nii.gz")
    if dtype is not np.float64:
        assert np.unique(read_label(tmp_path / "a.nii.gz").array).tolist() == [0, largest]
    SimpleITK.WriteImage(itk_image(label), str(tmp_path / "a.nrrd"))
    if dtype is not np.float64:
        assert np.unique(read_label(tmp_path / "a.nrrd").array).tolist() == [0, largest]


def test_labels_beyond_any_class_are_refused(tmp_path: Path) -> None:
    label = np.where(VOXELS > 400, 2**40, 0)
    SimpleITK.WriteImage(itk_image(label), str(tmp_path / "a.nrrd"))
    with pytest.raises(SimcvdError, match="from 0 to 1099511627776, which are no classes"):
        read_label(tmp_path / "a.nrrd")


def test_slope_and_intercept_as_nibabel_applies_them(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.int16, np.int32, np.float32):
        image = nibabel.Nifti1Image(VOXELS.astype(dtype) % 200, OBLIQUE)
        image.header.set_slope_inter(0.37, -3)
        nibabel.save(image, tmp_path / "a.nii")
        theirs = nibabel.load(tmp_path / "a.nii").get_fdata(dtype=np.float32)
        np.testing.assert_array_equal(read_image(tmp_path / "a.nii").array[0], theirs)
        assert read_header(tmp_path / "a.nii").floats
    assert spacing_of(read_image(tmp_path / "a.nii").affine) == pytest.approx((0.5, 2, 3))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.bz2", "a.hdr", "two.nii.gz"])
@pytest.mark.parametrize("end", ["<", ">"])
def test_labels_over_any_nifti_scan_keep_its_forms_and_codes(
    tmp_path: Path, name: str, end: str
) -> None:
    kinds = {"a.hdr": nibabel.Nifti1Pair, "two.nii.gz": nibabel.Nifti2Image}
    kind = kinds.get(name, nibabel.Nifti1Image)
    scan = kind(VOXELS, None, kind.header_class(endianness=end))
    scan.set_sform(OBLIQUE, code=2)
    scan.set_qform(OBLIQUE, code=3)
    nibabel.save(scan, tmp_path / name)
    affine = read_image(tmp_path / name).affine
    write_label(tmp_path / "p.nii.gz", VOXELS % 3, affine, like=tmp_path / name)
    written, source = nibabel.load(tmp_path / "p.nii.gz"), nibabel.load(tmp_path / name)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (2, 3)
    np.testing.assert_array_equal(written.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), VOXELS % 3)
    np.testing.assert_array_equal(read_label(tmp_path / "p.nii.gz").array, VOXELS % 3)
