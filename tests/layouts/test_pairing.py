"""Plain folders: mixed formats, nested folders, channels, and one mask a class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from tests.data.conftest import SHAPE, ball, noise, save
from tests.data.dicom_series import LPS, write_series

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.layouts.recognise import recognise
from simcvd.types import SimcvdError

STRAIGHT = np.diag([-1.0, -1.0, 2.0, 1.0])  # ITK's own axes, as RAS+


def prepared(root: Path, **settings: object) -> Cache:
    out = root.parent / "cache"
    return prepare(root, out, jobs=1, quiet=True, normalization="none", **settings)  # type: ignore[arg-type]


def write_itk(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(array.T.copy())
    image.SetSpacing((1, 1, 2))
    assert np.allclose(LPS @ STRAIGHT, np.diag([1, 1, 2, 1]))
    SimpleITK.WriteImage(image, str(path))


def test_formats_mixed_in_one_folder_give_the_same_case(tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    images = root / "images"
    save(images / "a.nii.gz", noise(0), STRAIGHT)
    write_itk(images / "b.nrrd", noise(0))
    write_itk(images / "c.mha", noise(0))
    write_series(images / "d", noise(0), STRAIGHT)
    for name in "abcd":
        save(root / "labels" / f"{name}.nii.gz", 5 * ball(), STRAIGHT)
    cache = prepared(root)
    assert cache.train == ("a", "b", "c", "d")
    for name in "abcd":
        case = cache.case(name)
        assert np.array_equal(case.image[0], noise(0)[::-1, ::-1])
        assert np.array_equal(case.label, ball()[::-1, ::-1])
    assert cache.manifest.label_values == {0: 0, 1: 5}


def test_a_dicom_case_is_made_again_only_when_a_slice_changed(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    paths = write_series(root / "images" / "d", noise(0), STRAIGHT)
    save(root / "labels" / "d.nii.gz", ball(), STRAIGHT)
    first = prepared(root).manifest.data_hash
    made = (tmp_path / "cache" / "cases" / "d" / "image.npy").stat().st_mtime_ns
    assert prepared(root).manifest.data_hash == first
    assert (tmp_path / "cache" / "cases" / "d" / "image.npy").stat().st_mtime_ns == made
    write_series(root / "images" / "d", noise(0) + 1, STRAIGHT)
    os.utime(paths[0])
    assert prepared(root).manifest.data_hash != first


def test_a_correction_is_said_by_prepare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "scans"
    shifts = [(0, 0.5 * z, 0) for z in range(SHAPE[2])]
    write_series(root / "images" / "tilted", noise(0), STRAIGHT, shifts=shifts)
    save(root / "images" / "a.nii.gz", noise(1))
    save(root / "labels" / "a.nii.gz", ball())
    prepare(root, tmp_path / "cache", jobs=1)
    assert "tilted: gantry tilt of 14.0 degrees" in capsys.readouterr().err


def test_nested_folders_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    root = tmp_path / "nested"
    for seed, name in enumerate(("p1", "p2")):
        save(root / "images" / name / "t1.nii.gz", noise(seed))
    write_series(root / "images" / "p3" / "DICOM" / "S1", noise(2), STRAIGHT)
    save(root / "labels" / "p2.nii.gz", ball())
    source = recognise(root)
    assert source.train == ("p1", "p2", "p3")
    assert source.cases["p2"].label == root / "labels" / "p2.nii.gz"
    save(root / "images" / "p1" / "t2.nii.gz", noise(0))
    save(root / "labels" / "p1" / "t2.nii.gz", ball())
    source = recognise(root)
    assert source.train == ("p1_t1", "p1_t2", "p2_t1", "p3_DICOM_S1")
    assert [n for n, c in source.cases.items() if c.label] == ["p1_t2"]


def test_the_naming_that_finds_the_labels_is_taken(tmp_path: Path) -> None:
    root = tmp_path / "dicom"
    for seed, name in enumerate(("S1", "S2")):
        folder = root / "images" / f"p{seed}" / name
        write_series(folder, noise(seed), STRAIGHT, t0020x000e=f"1.{seed}")
    assert recognise(root).train == ("S1", "S2")
    save(root / "labels" / "p1.nii.gz", ball(), STRAIGHT)
    assert recognise(root).train == ("p0", "p1")
    assert prepared(root).labeled(1) == ("p1",)


def test_several_series_in_a_folder_are_named_by_their_number(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "p"
    for seed, number in enumerate(("2", "7")):
        tags = {"t0020x0011": number, "t0020x000e": f"1.{number}"}
        for path in write_series(tmp_path / "new", noise(seed), STRAIGHT, **tags):
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(folder / f"{number}{path.name}")
    save(tmp_path / "labels" / "p_7.nii.gz", ball(), STRAIGHT)
    cache = prepare(tmp_path, tmp_path.parent / "out", jobs=1, quiet=True, normalization="none")
    assert cache.train == ("p_2", "p_7")
    assert cache.labeled(1) == ("p_7",)
    assert np.array_equal(cache.case("p_7").image[0], noise(1)[::-1, ::-1])


def test_labels_beside_or_among_the_scans(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        save(tmp_path / f"{name}.nii.gz", noise(seed))
    save(tmp_path / "drawn" / "a.nii.gz", ball())
    source = recognise(tmp_path, tmp_path / "drawn")
    assert source.train == ("a", "b")
    assert source.cases["a"].label == tmp_path / "drawn" / "a.nii.gz"
    with pytest.raises(SimcvdError, match="both the scans' and the labels' folder"):
        recognise(tmp_path, tmp_path)


def channels(root: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        save(root / "images" / f"{name}.nii.gz", noise(seed))


def test_one_file_a_channel(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    channels(root, "a_0000", "a_0001", "b_0000", "b_0001")
    save(root / "labels" / "b.nii.gz", ball())
    cache = prepared(root)
    assert cache.train == ("a", "b")
    assert cache.manifest.channel_names == ("channel 0", "channel 1")
    assert np.array_equal(cache.case("b").image, np.stack([noise(2), noise(3)]))
    (root / "images" / "a_0001.nii.gz").unlink()
    with pytest.raises(SimcvdError, match="scan 'a' has no channel 0001"):
        prepared(root)


def test_numbers_that_count_scans_are_no_channels(tmp_path: Path) -> None:
    channels(tmp_path, "la_0000", "la_0001")
    assert recognise(tmp_path).train == ("la_0000", "la_0001")
    save(tmp_path / "labels" / "la_0001.nii.gz", ball())
    source = recognise(tmp_path)
    assert source.train == ("la_0000", "la_0001")
    assert source.channel_names == ("image",)


def masks(root: Path) -> Path:
    """Scans a, b, c; a with liver and spleen, b with a spleen alone."""
    channels(root, "a", "b", "c")
    outer, inner = ball(), ball(radius=1.5)
    save(root / "labels" / "a" / "liver.nii.gz", 255 * inner)
    save(root / "labels" / "a" / "spleen.nii.gz", outer - inner)
    save(root / "labels" / "b" / "spleen.nii.gz", outer)
    return root


def test_one_mask_a_class(tmp_path: Path) -> None:
    root = masks(tmp_path / "masks")
    source = recognise(root)
    assert "one mask a class" in source.description
    assert "1 labelled scans have no mask 'liver'" in " ".join(source.notes)
    cache = prepared(root)
    assert cache.manifest.class_names == {0: "background", 1: "liver", 2: "spleen"}
    assert np.array_equal(cache.case("a").label, 2 * ball() - ball(radius=1.5))
    assert np.array_equal(cache.case("b").label, 2 * ball())
    assert not cache.case("c").has_label
    first = cache.manifest.data_hash
    save(root / "labels" / "b" / "spleen.nii.gz", ball(radius=2))
    again = prepared(root)
    assert again.manifest.data_hash != first
    assert np.array_equal(again.case("b").label, 2 * ball(radius=2))


def test_masks_that_overlap_or_hold_several_values(tmp_path: Path) -> None:
    root = masks(tmp_path / "masks")
    save(root / "labels" / "a" / "spleen.nii.gz", ball())
    count = int(ball(radius=1.5).sum())
    with pytest.raises(SimcvdError, match=rf"{count} of its voxels also lie in liver\.nii\.gz"):
        prepared(root)
    save(root / "labels" / "a" / "spleen.nii.gz", ball() + ball(radius=1.5))
    with pytest.raises(SimcvdError, match=r"spleen\.nii\.gz: is one file of a class.*0, 1, 2"):
        prepared(root)
    save(root / "labels" / "a" / "spleen.nii.gz", ball((12, 10, 9)))
    with pytest.raises(SimcvdError, match=r"spleen\.nii\.gz: its grid is not that of"):
        prepared(root)


def test_masks_and_label_maps_do_not_mix(tmp_path: Path) -> None:
    root = masks(tmp_path / "masks")
    save(root / "labels" / "c.nii.gz", ball())
    with pytest.raises(SimcvdError, match="2 scans have one mask a class, but 1 have one label"):
        prepared(root)


def test_one_label_map_in_a_folder_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    channels(root, "a", "b")
    for name in "ab":
        save(root / "labels" / name / "seg.nii.gz", ball() + ball(radius=1.5))
    cache = prepared(root)
    assert cache.manifest.label_values == {0: 0, 1: 1, 2: 2}
    assert np.array_equal(cache.case("b").label, ball() + ball(radius=1.5))


def test_dicom_of_two_patients_in_one_folder_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    for patient in "12":
        tags = {"t0010x0020": patient, "t0020x000e": f"1.{patient}"}
        for path in write_series(tmp_path / "new", noise(0), STRAIGHT, **tags):
            (root / "images").mkdir(parents=True, exist_ok=True)
            path.rename(root / "images" / f"{patient}{path.name}")
    with pytest.raises(SimcvdError, match="DICOM files of 2 patients"):
        prepared(root)
