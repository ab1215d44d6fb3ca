"""Reading every format to the same voxels and the same world, and writing labels back."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK
from tests.formats.made import make

from simcvd.formats import hdf5, read_image, read_label, spacing_of, stem_of, suffix_of, write_label
from simcvd.types import SimcvdError

VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
# Turned by 30 degrees in the axial plane, anisotropic, off centre: columns worked out by hand.
OBLIQUE = np.array(
    [
        [np.sqrt(3) / 2 * 0.5, -0.5 * 2.0, 0.0, 10.0],
        [0.5 * 0.5, np.sqrt(3) / 2 * 2.0, 0.0, -20.0],
        [0.0, 0.0, 3.0, 30.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def itk_image(affine: np.ndarray) -> SimpleITK.Image:
    """VOXELS as ITK keeps them: array Z, Y, X and geometry in LPS."""
    image = SimpleITK.GetImageFromArray(VOXELS.T.copy())
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
def test_every_format_gives_the_same_voxels_in_the_same_world(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if ".nii" in name:
        nibabel.save(nibabel.Nifti1Image(VOXELS, OBLIQUE), path)
    else:
        SimpleITK.WriteImage(itk_image(OBLIQUE), str(path))
    volume = read_image(path)
    assert volume.array.dtype == np.float32
    assert np.array_equal(volume.array, VOXELS[None])
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-5)
    assert spacing_of(volume.affine) == pytest.approx((0.5, 2.0, 3.0), abs=1e-6)
    label = read_label(path)
    assert label.array.dtype.kind == "i"
    assert np.array_equal(label.array, VOXELS)


def test_itk_and_nibabel_agree_on_the_world_of_one_nifti_file(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(VOXELS, OBLIQUE), path)
    lps = SimpleITK.ReadImage(str(path)).TransformIndexToPhysicalPoint((3, 1, 2))
    ras = read_image(path).affine @ [3, 1, 2, 1]
    assert np.allclose(ras[:3], [-lps[0], -lps[1], lps[2]], atol=1e-4)


@pytest.mark.parametrize("kept", ["sform", "qform"])
def test_the_form_that_a_nifti_file_declares_is_used(tmp_path: Path, kept: str) -> None:
    image = nibabel.Nifti1Image(VOXELS, None)
    image.set_sform(OBLIQUE if kept == "sform" else None, code=1 if kept == "sform" else 0)
    image.set_qform(OBLIQUE if kept == "qform" else None, code=1 if kept == "qform" else 0)
    nibabel.save(image, tmp_path / "a.nii")
    assert np.allclose(read_image(tmp_path / "a.nii").affine, OBLIQUE, atol=1e-5)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOXELS, np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "a.nii")
    raw = nibabel.load(tmp_path / "a.nii")
    expected = np.asarray(raw.dataobj.get_unscaled()) * raw.dataobj.slope + raw.dataobj.inter
    assert raw.dataobj.slope == 0.5
    assert np.allclose(read_image(tmp_path / "a.nii").array[0], expected)


def test_h5_of_the_la_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "mri_norm2.h5"
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = VOXELS.astype(np.float32), VOXELS % 2
    assert np.array_equal(read_image(path).array[0], VOXELS)
    assert np.array_equal(read_label(path).array, VOXELS % 2)
    assert spacing_of(read_image(path).affine) == (0.625, 0.625, 0.625)


def test_a_4d_file_is_channels_only_where_they_are_declared(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.stack([VOXELS, -VOXELS], axis=-1), np.eye(4)), path)
    assert np.array_equal(read_image(path, channels=2).array, np.stack([VOXELS, -VOXELS]))
    with pytest.raises(SimcvdError, match=r"4D file of shape \(4, 5, 6, 2\)"):
        read_image(path)
    SimpleITK.WriteImage(
        SimpleITK.Compose(itk_image(OBLIQUE), -itk_image(OBLIQUE)), str(tmp_path / "b.nrrd")
    )
    assert np.array_equal(
        read_image(tmp_path / "b.nrrd", channels=2).array, np.stack([VOXELS, -VOXELS])
    )


def test_written_labels_keep_the_header_of_the_scan(tmp_path: Path) -> None:
    scan = nibabel.Nifti1Image(VOXELS, None)
    scan.set_sform(OBLIQUE, code=1)
    scan.set_qform(OBLIQUE, code=3)
    scan.header.set_xyzt_units("mm", "sec")
    scan.header["cal_max"] = 500
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    affine = read_image(tmp_path / "scan.nii.gz").affine
    labels = np.where(VOXELS > 50, 255, 0)
    write_label(tmp_path / "out" / "p.nii.gz", labels, affine, like=tmp_path / "scan.nii.gz")
    written = nibabel.load(tmp_path / "out" / "p.nii.gz")
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(written.dataobj), labels)
    assert np.array_equal(written.affine, nibabel.load(tmp_path / "scan.nii.gz").affine)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 3)
    assert written.header.get_xyzt_units() == ("mm", "sec")
    assert written.header["cal_max"] == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["p.nii.gz"]


def test_written_labels_without_a_header_stand_in_the_same_world(tmp_path: Path) -> None:
    write_label(tmp_path / "p.nii.gz", np.where(VOXELS > 50, 1000, -7), OBLIQUE)
    back = read_label(tmp_path / "p.nii.gz")
    assert np.array_equal(back.array, np.where(VOXELS > 50, 1000, -7))
    assert np.allclose(back.affine, OBLIQUE, atol=1e-5)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimcvdError, match=r"cannot write .*p\.nii"):
        write_label(tmp_path / "file" / "p.nii", VOXELS, OBLIQUE)


def test_names_and_endings() -> None:
    assert suffix_of(Path("x/a.b.NII.gz")) == ".nii.gz"
    assert stem_of(Path("x/a.b.nii.gz")) == "a.b"
    assert suffix_of(Path("a.txt")) == ""


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path, "mri_norm2.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    for read in (hdf5.names, lambda path: hdf5.taken(path, "image")):  # as in the child process
        with pytest.raises(
            SimcvdError, match=r"mri_norm2.h5 needs .*: pip install 'simcvd\[hdf5\]'"
        ):
            read(str(path))
