"""Bad files: what was found, where, and what to do, for all scans in one message."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from simcvd.checking.check import check
from simcvd.data.prepare import prepare
from simcvd.types import SimcvdError

from .conftest import AFFINE, SHAPE, ball, noise, save


def complaint(root: Path, **settings: object) -> str:
    """The message that preparing `root` ends with."""
    with pytest.raises(SimcvdError) as caught:
        prepare(root, root.parent / "cache", jobs=1, quiet=True, **settings)  # type: ignore[arg-type]
    return str(caught.value)


def image(root: Path, name: str = "b.nii.gz") -> Path:
    return root / "images" / name


@pytest.mark.parametrize("keep", [0, 200, 0.5, 0.97])
def test_truncated_or_empty_nifti(folders: Path, keep: float) -> None:
    path = image(folders)
    size = path.stat().st_size
    os.truncate(path, int(keep * size) if keep < 1 else int(keep))
    message = complaint(folders)
    assert str(path) in message
    assert ("empty (0 bytes)" if keep == 0 else "truncated") in message


@pytest.mark.parametrize("name", ["b.nrrd", "b.mha"])
def test_truncated_itk_file(folders: Path, name: str) -> None:
    image(folders).unlink()
    path = image(folders, name)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise(1).T.copy()), str(path))
    os.truncate(path, path.stat().st_size // 2)
    message = complaint(folders)
    assert str(path) in message
    assert "truncated" in message


def test_a_file_of_another_kind(folders: Path) -> None:
    image(folders).write_bytes(b"not a scan at all" * 100)
    assert "b.nii.gz: cannot be read" in complaint(folders)


def test_truncated_h5(tmp_path: Path) -> None:
    path = tmp_path / "la" / "A" / "mri_norm2.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    assert f"{path}: cannot be read" in complaint(tmp_path / "la")


def test_image_and_label_of_different_shape(folders: Path) -> None:
    save(folders / "labels" / "b.nii.gz", ball((12, 10, 9)))
    message = complaint(folders)
    assert "b.nii.gz: the label's grid is not that of its scan" in message
    assert "(12, 10, 8)" in message
    assert "(12, 10, 9)" in message


@pytest.mark.parametrize("change", ["spacing", "origin", "flip"])
def test_image_and_label_of_different_geometry(folders: Path, change: str) -> None:
    affine = AFFINE.copy()
    if change == "spacing":
        affine[2, 2] = 2.1
    elif change == "origin":
        affine[0, 3] = 0.6
    else:
        affine[1] *= -1
    save(folders / "labels" / "b.nii.gz", ball(), affine)
    message = complaint(folders)
    assert "b.nii.gz: the label's grid is not that of its scan" in message
    assert "spacing (1, 1, 2) mm, origin (0, 0, 0) mm" in message
    shown = {"spacing": "(1, 1, 2.1)", "origin": "(0.6, 0, 0)", "flip": "(0, -1, 0)"}
    assert shown[change] in message


def halved(label: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A label at twice the resolution, every voxel divided into eight."""
    fine = affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] = (affine @ [-0.25, -0.25, -0.25, 1])[:3]
    return label.repeat(2, 0).repeat(2, 1).repeat(2, 2), fine


def test_a_label_on_another_grid_is_resampled_where_that_is_asked_for(folders: Path) -> None:
    label = ball()
    label[2, 3, 1] = 7  # another class, of one voxel
    save(folders / "labels" / "b.nii.gz", *halved(label, AFFINE))
    assert "give --resample-labels" in complaint(folders)
    report = check(folders, jobs=1, quiet=True, resample_labels=True)
    assert report.errors == 0
    (warned,) = (finding for finding in report.findings if finding.kind == "geometry")
    assert "holds 100% of the labelled volume" in warned.message
    out = folders.parent / "cache"
    cache = prepare(folders, out, jobs=1, quiet=True, resample_labels=True)
    assert np.array_equal(np.array([0, 1, 7])[cache.case("b").label], label)
    with pytest.raises(SimcvdError, match="grid is not that"):  # nor taken from before
        prepare(folders, out, jobs=1, quiet=True)


def test_an_oblique_label_is_resampled_to_where_it_lies_in_the_world(folders: Path) -> None:
    turned = AFFINE.copy()
    c, s = np.cos(0.3), np.sin(0.3)
    turned[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ AFFINE[:3, :3]
    middle = (np.array([12, 10, 8]) - 1) / 2
    turned[:3, 3] = AFFINE[:3, :3] @ middle - turned[:3, :3] @ middle
    # A column round the axis of the turn, which a turn leaves where it is.
    x, y = np.meshgrid(np.arange(12) - 5.5, np.arange(10) - 4.5, indexing="ij")
    column = np.repeat((np.hypot(x, y) < 3.2).astype(np.uint8)[..., None], 8, axis=2)
    save(folders / "labels" / "b.nii.gz", column, turned)
    cache = prepare(folders, folders.parent / "c", jobs=1, quiet=True, resample_labels=True)
    read = np.asarray(cache.case("b").label)
    assert (read != column).mean() < 0.02
    assert read.sum() == pytest.approx(column.sum(), rel=0.05)


def test_a_label_beside_its_scan_cannot_be_resampled(folders: Path) -> None:
    away = AFFINE.copy()
    away[0, 3] = 100
    save(folders / "labels" / "b.nii.gz", ball(), away)
    with pytest.raises(SimcvdError, match="Nothing that is labelled lies within the scan"):
        prepare(folders, folders.parent / "c", jobs=1, quiet=True, resample_labels=True)


def test_a_label_stored_along_other_axes_of_the_same_grid_is_fine(folders: Path) -> None:
    uneven = ball()
    uneven[0, 0, 0] = 1
    flipped = AFFINE.copy()
    flipped[0] = [-1, 0, 0, SHAPE[0] - 1]
    save(folders / "labels" / "b.nii.gz", uneven[::-1], flipped)
    cache = prepare(folders, folders.parent / "cache", jobs=1, quiet=True)
    assert np.array_equal(cache.case("b").label, uneven)


def test_a_label_value_that_is_not_declared(tmp_path: Path) -> None:
    root = tmp_path / "msd"
    save(root / "imagesTr" / "a.nii.gz", noise(0))
    label = ball()
    label[0, 0, :3] = 7
    save(root / "labelsTr" / "a.nii.gz", label)
    (root / "dataset.json").write_text(
        '{"labels": {"0": "background", "1": "x"}, "modality": {"0": "MRI"}}'
    )
    message = complaint(root)
    assert "a.nii.gz: holds label values that are not declared: 7 (3 voxels)" in message
    assert "Declared are 0, 1" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number(folders: Path, value: float) -> None:
    array = noise(1).astype(np.float32)
    array[4, 5, 6] = value
    save(image(folders), array)
    assert "1 voxels are NaN or infinite, the first at (4, 5, 6)" in complaint(folders)


def test_two_images_of_one_name(folders: Path) -> None:
    shutil.copy(image(folders), image(folders, "keep.nii.gz"))
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(noise(1).T.copy()), str(image(folders, "b.mha"))
    )
    message = complaint(folders)
    assert "two files of one name, 'b'" in message
    assert "b.mha" in message
    assert "b.nii.gz" in message


@pytest.mark.parametrize(
    ("shape", "kind"), [((12, 10), "2D"), ((12, 10, 1), "2D"), ((6, 5, 4, 3), "4D")]
)
def test_2d_and_4d_files(folders: Path, shape: tuple[int, ...], kind: str) -> None:
    save(image(folders), np.ones(shape, np.int16))
    message = complaint(folders)
    assert f"is a {kind} file of shape" in message
    assert "3D volume is needed" in message


@pytest.mark.parametrize("name", ["b.nii.gz", "b.nrrd"])
def test_colour(folders: Path, name: str) -> None:
    image(folders).unlink()
    if name.endswith("nrrd"):
        pixels = SimpleITK.GetImageFromArray(np.zeros((6, 5, 4, 3), np.uint8), isVector=True)
        SimpleITK.WriteImage(pixels, str(image(folders, name)))
    else:
        save(image(folders, name), np.zeros((6, 5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert f"{name}: is a colour image" in complaint(folders)


def test_labels_must_be_whole_numbers_and_not_negative(folders: Path) -> None:
    save(folders / "labels" / "b.nii.gz", ball() * np.float32(0.5))
    assert "must hold whole numbers, but holds 0.5" in complaint(folders)
    save(folders / "labels" / "b.nii.gz", -ball().astype(np.int16))
    assert "from -1 to 1" in complaint(folders)


def test_scans_given_as_labels(folders: Path) -> None:
    values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    save(folders / "labels" / "b.nii.gz", values)
    assert "the labels hold 960 values" in complaint(folders)


def test_nothing_to_learn(folders: Path) -> None:
    for name in ("a", "c"):
        (folders / "labels" / f"{name}.nii.gz").unlink()
    assert "0 label files were found, and no foreground" in complaint(folders)
    save(folders / "labels" / "a.nii.gz", 0 * ball())
    (folders / "labels" / "c.nii.gz").write_bytes(b"")
    message = complaint(folders)
    assert "2 label files were found, and no foreground" in message
    assert "c.nii.gz: the file is empty" in message


def test_labels_that_pair_with_nothing(folders: Path) -> None:
    for name in ("a", "c"):
        (folders / "labels" / f"{name}.nii.gz").rename(folders / "labels" / f"x{name}.nii.gz")
    message = complaint(folders)
    assert "labels are called xa, xc, scans a, b, c, d" in message


def test_values_beyond_half_precision(folders: Path) -> None:
    save(image(folders), noise(1).astype(np.float32) * 1000)
    message = complaint(folders, normalization="none")
    assert "b.nii.gz: holds values up to" in message
    assert "65504" in message


def test_lists_that_do_not_fit(folders: Path) -> None:
    (folders / "train.list").write_text("a\nb\nb\nzz\n")
    (folders / "test.list").write_text("a\n")
    message = complaint(folders)
    assert "zz of the train list has no scan" in message
    assert "more than once in the train list: b" in message
    assert "in the train list and in the test list: a" in message
    (folders / "train.list").write_text("\n")
    assert "no scan is left to train on" in complaint(folders)


def test_all_problems_come_at_once_and_sound_scans_stay_prepared(folders: Path) -> None:
    os.truncate(image(folders, "b.nii.gz"), 0)
    os.truncate(folders / "labels" / "c.nii.gz", 100)
    array = noise(3).astype(np.float32)
    array[0] = np.nan
    save(image(folders, "d.nii.gz"), array)
    message = complaint(folders)
    assert "3 problems to fix" in message
    for part in (
        "images/b.nii.gz: the file is empty",
        "labels/c.nii.gz: cannot",
        "80 voxels are NaN",
    ):
        assert part in message
    cache = folders.parent / "cache"
    assert not (cache / "manifest.json").exists()
    assert [p.name for p in (cache / "cases").iterdir()] == ["a"]


def test_a_sheared_label_header_with_no_inverse(folders: Path) -> None:
    scan = nibabel.Nifti1Image(noise(1), None)
    scan.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nibabel.save(scan, image(folders))
    assert "its affine has no inverse" in complaint(folders)


def test_settings_that_make_no_sense(folders: Path, tmp_path: Path) -> None:
    assert "one or three values in mm, but got 2" in complaint(folders, spacing=(1.0, 2.0))
    assert "'minmax' is none of" in complaint(folders, normalization="minmax")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.txt").write_text("")
    assert "is not a cache. Give an empty folder" in complaint(folders)
