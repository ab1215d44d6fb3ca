"""A cache follows the content of its sources, and notices what happens to its own files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.data.dicom_series import write_series
from tests.small import write_scans

from simcvd.data import cases
from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.types import SimcvdError

DATE = 1.7e9


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Files of one size and one date, as an archive unpacks them."""
    folder = write_scans(tmp_path / "scans")
    for path in folder.rglob("*.nii.gz"):
        nibabel.save(nibabel.load(path), path.with_suffix(""))
        path.unlink()
    for path in folder.rglob("*.nii"):
        os.utime(path, (DATE, DATE))
    return folder


def made(source: Path, out: Path) -> Cache:
    return prepare(source, out, jobs=1, quiet=True)


def test_swapped_files_of_one_size_and_date_are_noticed(scans: Path, tmp_path: Path) -> None:
    cache = made(scans, tmp_path / "cache")
    labels = [np.array(cache.case(name).label) for name in ("case0", "case1")]
    one, other = (scans / "labels" / f"case{i}.nii" for i in (0, 1))
    for source, target in ((one, scans / "t"), (other, one), (scans / "t", other)):
        source.rename(target)
    again = made(scans, tmp_path / "cache")
    assert again.manifest.data_hash != cache.manifest.data_hash
    for name, label in zip(("case1", "case0"), labels, strict=True):
        np.testing.assert_array_equal(again.case(name).label, label)


def test_one_slice_of_a_series_counts(tmp_path: Path) -> None:
    """It keeps its size, and its date is older than that of the others."""
    scans = tmp_path / "scans"
    rng, affine = np.random.default_rng(0), np.diag([1.0, 1.0, 2.0, 1.0])
    for name, uid in (("a", "1.2.3.4"), ("b", "1.2.3.5")):
        voxels = rng.integers(0, 100, (8, 6, 4))
        write_series(scans / "images" / name, voxels, affine, t0020x000e=uid)
    (scans / "labels").mkdir()
    label = np.zeros((8, 6, 4), np.uint8)
    label[2:5, 2:5, 1:3] = 1
    nibabel.save(nibabel.Nifti1Image(label, affine), scans / "labels" / "a.nii.gz")
    before = np.array(made(scans, tmp_path / "cache").case("a").image)
    slices = sorted((scans / "images" / "a").iterdir())
    data = slices[1].read_bytes()
    slices[1].write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    os.utime(slices[1], (DATE, DATE))
    after = np.array(made(scans, tmp_path / "cache").case("a").image)
    assert not np.array_equal(before, after)


def test_touched_files_of_equal_content_are_not_prepared_again(scans: Path, tmp_path: Path) -> None:
    cache = made(scans, tmp_path / "cache")
    path = scans / "images" / "case0.nii"
    path.write_bytes(path.read_bytes())
    inode = (cache.root / "cases" / "case0" / "image.npy").stat().st_ino
    again = made(scans, tmp_path / "cache")
    assert again.manifest == cache.manifest
    assert (cache.root / "cases" / "case0" / "image.npy").stat().st_ino == inode


def test_a_file_that_changes_while_it_is_read_is_named(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cases.read_channels

    def change(images: tuple[Path, ...], *rest: object) -> object:
        volume = real(images, *rest)  # type: ignore[arg-type]
        if images[0].name == "case3.nii":
            images[0].write_bytes(images[0].read_bytes())
        return volume

    monkeypatch.setattr(cases, "read_channels", change)
    with pytest.raises(SimcvdError, match=r"1 problem.*\n.*case3\.nii: changed while it was read"):
        made(scans, tmp_path / "cache")


@pytest.mark.parametrize("array", ["image", "label", "distance"])
def test_an_array_that_is_not_as_prepared_is_refused_and_renewed(
    scans: Path, tmp_path: Path, array: str
) -> None:
    """One bit, with size and date kept."""
    cache = made(scans, tmp_path / "cache")
    path = cache.root / "cases" / "case2" / f"{array}.npy"
    whole, stat = path.read_bytes(), path.stat()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(SimcvdError, match=rf"{array}\.npy: .*not those that were written.*prepare"):
        getattr(Cache(cache.root).case("case2"), array)
    assert getattr(made(scans, tmp_path / "cache").case("case2"), array) is not None
    assert path.read_bytes() == whole


def test_exchanged_arrays_and_edited_records_are_refused(scans: Path, tmp_path: Path) -> None:
    cache = made(scans, tmp_path / "cache")
    one, other = (cache.root / "cases" / f"case{i}" for i in (0, 1))
    (one / "image.npy").rename(tmp_path / "t")
    (other / "image.npy").rename(one / "image.npy")
    (tmp_path / "t").rename(other / "image.npy")
    for name in ("case0", "case1"):
        with pytest.raises(SimcvdError, match=r"image\.npy: cannot be opened"):
            _ = Cache(cache.root).case(name).image
    record = cache.root / "cases" / "case3" / "case.json"
    record.write_text(record.read_text().replace('"shape": [\n  20,', '"shape": [\n  21,'))
    with pytest.raises(SimcvdError, match=r"case\.json: .*not what was written"):
        Cache(cache.root).case("case3")
    manifest = cache.root / "manifest.json"
    values = '"label_values": {\n  "0": '
    manifest.write_text(manifest.read_text().replace(f"{values}0", f"{values}9"))
    with pytest.raises(SimcvdError, match=r"manifest\.json: its content is not what"):
        Cache(cache.root).case("case4")


def test_a_cache_of_before_there_were_checksums_is_read_and_not_made_again(
    scans: Path, tmp_path: Path
) -> None:
    cache = made(scans, tmp_path / "cache")
    inodes = {}
    for folder in (cache.root / "cases").iterdir():
        content = json.loads((folder / "case.json").read_text())
        del content["checksums"], content["digest"]
        for record in (*content["sources"]["images"], content["sources"]["label"]):
            del record["stat"]
        (folder / "case.json").write_text(json.dumps(content, indent=1) + "\n")
        inodes[folder.name] = (folder / "image.npy").stat().st_ino
    old = Cache(cache.root)
    assert old.case("case0").image.shape == (1, 20, 18, 12)
    assert made(scans, tmp_path / "cache").manifest == cache.manifest
    assert inodes == {
        folder.name: (folder / "image.npy").stat().st_ino
        for folder in (cache.root / "cases").iterdir()
    }


@pytest.mark.parametrize(
    "change",
    [
        {"cases": []},
        {"cases": {"a": 3}},
        {"train": "abc"},
        {"class_names": {"x": "y"}},
        {"preprocessing": {"spacing": "wide"}},
        {"spacing": None},
    ],
)
def test_a_manifest_of_wrong_types_is_refused(
    scans: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    path = made(scans, tmp_path / "cache").root / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(SimcvdError, match=r"manifest\.json: (is not a manifest|its content)"):
        Cache(path.parent).case("case0")
