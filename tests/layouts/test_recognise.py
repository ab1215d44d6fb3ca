"""Every layout is recognised, by its files alone, and prepared to the right classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK
from tests.data.conftest import SHAPE, ball, noise, save

from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.layouts.recognise import recognise
from simcvd.types import SimcvdError


def prepared(root: Path, out: Path, **settings: object) -> Cache:
    return prepare(root, out, jobs=1, quiet=True, **settings)  # type: ignore[arg-type]


def test_la_nifti_keeps_intensities_and_the_lists_order(
    la_folder: Callable[[int], Path], tmp_path: Path
) -> None:
    root = la_folder(3)
    source = recognise(root)
    assert source.kind == "la-nifti"
    assert "normalised already" in source.description
    assert source.train == ("0000000000000000003A", "0000000000000000002A", "0000000000000000001A")
    assert source.test == ("0000000000000000000A",)
    cache = prepared(root, tmp_path / "cache")
    assert cache.manifest.class_names == {0: "background", 1: "left atrium"}
    assert cache.manifest.preprocessing.normalization == "none"
    case = cache.case(source.train[0])
    assert np.array_equal(case.image[0], (noise(0) / 64.0).astype(np.float16))
    assert np.array_equal(case.label, ball())
    assert np.array_equal(case.distance < 0, case.distance.astype(np.float32) < 0)
    assert set(ball()[case.distance[0] < 0]) == {1}
    assert set(ball()[case.distance[0] > 0]) == {0}


def test_la_h5_and_la_nrrd(tmp_path: Path) -> None:
    names = ["B" * 20, "A" * 20, "C" * 20]
    for seed, name in enumerate(names):
        folder = tmp_path / "h5" / "2018LA_Seg_Training Set" / name
        folder.mkdir(parents=True)
        with h5py.File(folder / "mri_norm2.h5", "w") as file:
            file["image"] = noise(seed).astype(np.float32) / 50
            if seed < 2:
                file["label"] = ball()
        folder = tmp_path / "nrrd" / name
        folder.mkdir(parents=True)
        scan = SimpleITK.GetImageFromArray(noise(seed).T.copy())
        scan.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # RAS, as ITK sees it
        SimpleITK.WriteImage(scan, str(folder / "lgemri.nrrd"))
        if seed < 2:
            mask = SimpleITK.GetImageFromArray(255 * ball().T)
            mask.CopyInformation(scan)
            SimpleITK.WriteImage(mask, str(folder / "laendo.nrrd"))
    for kind in ("h5", "nrrd"):
        (tmp_path / kind / "train.list").write_text("\n".join(names))
        cache = prepared(tmp_path / kind, tmp_path / f"cache-{kind}")
        assert cache.manifest.source_kind == f"la-{kind}"
        assert cache.train == tuple(names)
        assert [cache.case(n).has_label for n in names] == [True, True, False]
        assert np.array_equal(cache.case(names[1]).label, ball())
        assert cache.manifest.class_names[1] == "left atrium"
    h5, nrrd = (Cache(tmp_path / f"cache-{kind}") for kind in ("h5", "nrrd"))
    assert h5.task_info.spacing == (0.625, 0.625, 0.625)
    assert h5.manifest.label_values == {0: 0, 1: 1}
    assert np.array_equal(h5.case(names[2]).image[0], (noise(2) / 50).astype(np.float16))
    assert nrrd.manifest.label_values == {0: 0, 1: 255}
    zscored = (noise(2) - noise(2).mean()) / noise(2).std()
    assert np.allclose(nrrd.case(names[2]).image[0], zscored, atol=2e-3)


def decathlon(root: Path, **info: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    base = {"labels": {"0": "background", "2": "tail", "1": "head"}, "modality": {"0": "MRI"}}
    (root / "dataset.json").write_text(json.dumps({**base, **info}))
    return root


def test_decathlon_with_splits(tmp_path: Path) -> None:
    root = decathlon(tmp_path / "msd")
    for seed, name in enumerate(["la_0003", "la_0001", "la_0002", "la_0004"]):
        save(root / "imagesTr" / f"{name}.nii.gz", noise(seed))
    save(root / "imagesTr" / "._la_0001.nii.gz", noise(0))  # left behind by macOS
    for name in ("la_0001", "la_0003"):
        save(root / "labelsTr" / f"{name}.nii.gz", 2 * ball())
    assert recognise(root).kind == "decathlon"
    assert recognise(root).train == ("la_0001", "la_0002", "la_0003", "la_0004")
    splits = {"train": ["la_0002", "la_0003"], "test": ["la_0001"]}
    (root / "splits.json").write_text(json.dumps(splits))
    cache = prepared(root, tmp_path / "cache")
    assert (cache.train, cache.test) == (("la_0002", "la_0003"), ("la_0001",))
    assert cache.manifest.class_names == {0: "background", 1: "head", 2: "tail"}
    case = cache.case("la_0003")
    assert np.array_equal(case.label, 2 * ball())
    assert case.distance.shape == (2, *SHAPE)
    assert (case.distance[0] == 1).all()  # no head here
    assert cache.labeled(1) == ("la_0003",)
    assert not (tmp_path / "cache" / "cases" / "la_0004").exists()


def test_nnunet_with_one_file_a_channel(tmp_path: Path) -> None:
    root = decathlon(
        tmp_path / "Dataset001_X",
        labels={"background": 0, "tumour": 5},
        channel_names={"0": "T1", "1": "T2"},
        file_ending=".nrrd",
    )
    images, labels = root / "imagesTr", root / "labelsTr"
    images.mkdir()
    labels.mkdir()
    for seed, name in enumerate(["p_0001", "p_0002"]):
        for channel in (0, 1):
            scan = SimpleITK.GetImageFromArray(noise(seed + 10 * channel).T.copy())
            SimpleITK.WriteImage(scan, str(images / f"{name}_{channel:04d}.nrrd"))
    mask = SimpleITK.GetImageFromArray(5 * ball().T)
    SimpleITK.WriteImage(mask, str(labels / "p_0002.nrrd"))
    cache = prepared(root, tmp_path / "cache", normalization="none")
    assert cache.train == ("p_0001", "p_0002")
    assert cache.task_info.channels == 2
    assert cache.manifest.channel_names == ("T1", "T2")
    assert cache.manifest.label_values == {0: 0, 1: 5}
    # ITK's identity is LPS: the first two axes are flipped on the way to RAS.
    stacked = np.stack([noise(1), noise(11)])[:, ::-1, ::-1]
    assert np.array_equal(cache.case("p_0002").image, stacked)
    assert np.array_equal(cache.case("p_0002").label, ball()[::-1, ::-1])
    assert not cache.case("p_0001").has_label


def test_a_ct_data_set_is_clipped_to_a_window(tmp_path: Path) -> None:
    root = decathlon(tmp_path / "ct", modality={"0": "CT"})
    save(root / "imagesTr" / "a.nii.gz", noise(0) * 10 - 1000)
    p = recognise(root).preprocessing
    assert (p.normalization, p.window) == ("ct", (-125.0, 275.0))
    cache = prepared(root, tmp_path / "cache", window=(-900, 400))
    assert cache.manifest.preprocessing.window == (-900, 400)
    clipped = (noise(0) * 10 - 1000).clip(-900, 400)
    expected = (clipped - clipped.mean()) / clipped.std()
    assert np.allclose(cache.case("a").image[0], expected, atol=2e-3)


def test_labels_of_test_scans_make_a_test_split(tmp_path: Path) -> None:
    root = decathlon(tmp_path / "msd")
    for part, name in (("Tr", "a"), ("Ts", "b")):
        save(root / f"images{part}" / f"{name}.nii.gz", noise(0))
        save(root / f"labels{part}" / f"{name}.nii.gz", ball())
    cache = prepared(root, tmp_path / "cache")
    assert (cache.train, cache.test) == (("a",), ("b",))


def test_plain_folders_find_their_classes(folders: Path, tmp_path: Path) -> None:
    save(folders / "labels" / "b.nii.gz", 70 * ball() + 30 * ball(radius=1.5))
    cache = prepared(folders, tmp_path / "cache")
    assert cache.manifest.source_kind == "folders"
    assert (cache.train, cache.test) == (("a", "b", "c", "d"), ())
    assert cache.manifest.label_values == {0: 0, 1: 1, 2: 70, 3: 100}
    assert cache.manifest.class_names[2] == "class 70"
    label = cache.case("b").label
    assert np.array_equal(label, 2 * ball() + ball(radius=1.5))
    assert not cache.case("d").has_label
    assert cache.labeled(3) == ("a", "b", "c")


def test_scans_and_labels_in_two_places(folders: Path, tmp_path: Path) -> None:
    moved = (folders / "labels").rename(tmp_path / "elsewhere")
    cache = prepared(folders / "images", tmp_path / "cache", labels=moved)
    assert cache.labeled(2) == ("a", "c")


@pytest.mark.parametrize("place", ["images/dataset.json", "dataset.json"])
def test_plain_folders_may_declare_channels_of_one_file_and_names_of_values(
    folders: Path, tmp_path: Path, place: str
) -> None:
    for seed, path in enumerate(sorted((folders / "images").iterdir())):
        save(path, np.stack([noise(seed), noise(seed + 9)], axis=-1))
    channels = {"channel_names": {"0": "T1", "1": "T2"}}
    text = json.dumps({**channels, "labels": {"background": 0, "organ": 1}})
    (folders / place).write_text(text)
    cache = prepare(folders, tmp_path / "cache", jobs=1, quiet=True)
    assert cache.manifest.channel_names == ("T1", "T2")
    assert cache.manifest.class_names == {0: "background", 1: "organ"}
    assert cache.case("b").image.shape == (2, *SHAPE)
    save(folders / "labels" / "a.nii.gz", 3 * ball())
    with pytest.raises(SimcvdError, match="values that are not declared: 3"):
        prepare(folders, tmp_path / "cache", jobs=1, quiet=True)


def test_values_found_are_said(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = ball()
    stray[0, 0, 0] = 9
    save(folders / "labels" / "a.nii.gz", stray)
    prepare(folders, tmp_path / "cache", jobs=1)
    said = capsys.readouterr().err
    assert "the values found in 2 labels are the classes: 1 (in 2), 9 (in 1)" in said


def test_only_a_test_list_leaves_the_rest_for_training(folders: Path) -> None:
    (folders / "test.list").write_text("c\n")
    source = recognise(folders)
    assert (source.train, source.test) == (("a", "b", "d"), ("c",))


def test_what_would_be_recognised_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(SimcvdError, match=r"not recognised.*dataset\.json.*Found: notes\.txt"):
        recognise(tmp_path)
    with pytest.raises(SimcvdError, match="no such folder"):
        recognise(tmp_path / "nowhere")
    for name in "ab":
        save(tmp_path / f"{name}.nii.gz", noise(0))
    with pytest.raises(SimcvdError, match=r"holds 2 scans, but no labels .* with --labels"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"labels": {"background": 0, "whole": [1, 2]}}, "'whole': .1, 2. is a region"),
        ({"labels": {"background": 0, "x": 1, "ignore": 2}}, "ignored value"),
        ({"labels": {"1": "x", "2": "y"}}, "value 0 must be the background"),
        ({"labels": ["x"]}, "declares no labels"),
        ({"labels": {"0": "none", "1": "x", "2": "x"}}, r"values are called x.*one value\."),
        ({"modality": None}, "declares no channels"),
    ],
)
def test_a_dataset_json_that_declares_too_little(
    tmp_path: Path, info: dict[str, object], message: str
) -> None:
    save(tmp_path / "imagesTr" / "a.nii.gz", noise(0))
    with pytest.raises(SimcvdError, match=message):
        recognise(decathlon(tmp_path, **info))


def test_a_broken_dataset_json(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels": ')
    with pytest.raises(SimcvdError, match="not readable JSON"):
        recognise(tmp_path)


def test_only_the_benchmarks_own_scans_are_taken_for_normalised(
    la_folder: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = la_folder(2)
    for path in (root / "images").iterdir():
        save(path, noise(0))  # its names, but whole numbers as a scanner gives them
    found = recognise(root)
    assert (found.kind, found.preprocessing.normalization) == ("folders", "zscore")
    assert "are not its normalised ones" in " ".join(found.notes)
    monkeypatch.undo()  # other pseudonyms of 20 letters and digits
    for path in (root / "images").iterdir():
        save(path, noise(0) / 64.0)
    found = recognise(root)
    assert (found.kind, found.preprocessing.normalization) == ("folders", "zscore")
    assert "are not its normalised ones" in " ".join(found.notes)
