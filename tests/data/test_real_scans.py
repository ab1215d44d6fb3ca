"""The real scans beside the repository, a few of each set."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from tests.whole import to_source

from simcvd.data.prepare import prepare


def linked(source: Path, target: Path, folders: tuple[str, str], names: list[str]) -> None:
    for folder in folders:
        (target / folder).mkdir(parents=True)
        for name in names:
            (target / folder / f"{name}.nii.gz").symlink_to(source / folder / f"{name}.nii.gz")


def test_left_atrium(shared_data: Path, tmp_path: Path) -> None:
    source, root = shared_data / "la2018", tmp_path / "la"
    train = (source / "train.list").read_text().split()[:2]
    test = (source / "test.list").read_text().split()[:1]
    linked(source, root, ("images", "labels"), train + test)
    (root / "train.list").write_text("\n".join(train))
    (root / "test.list").write_text("\n".join(test))
    cache = prepare(root, tmp_path / "cache", spacing=(1.875,), jobs=1, quiet=True)
    assert cache.manifest.source_kind == "la-nifti"
    assert (list(cache.train), list(cache.test)) == (train, test)
    case = cache.case(train[0])
    scan = nibabel.load(source / "images" / f"{train[0]}.nii.gz")
    truth = np.asarray(nibabel.load(source / "labels" / f"{train[0]}.nii.gz").dataobj) > 0
    assert case.image.shape == (1, *(round(n / 3) for n in scan.shape))
    assert abs(float(case.image.mean(dtype=np.float64)) - scan.get_fdata().mean()) < 0.02
    shares = np.stack([case.label == k for k in (0, 1)]).astype(np.float32)
    back = to_source(shares, np.array(case.info.affine), scan.shape, scan.affine)
    overlap = 2 * (truth & (back == 1)).sum() / (truth.sum() + back.sum())
    assert overlap > 0.93  # 1.875 mm voxels cannot draw thin walls; a shift of one would give 0.85


def test_hippocampus(shared_data: Path, tmp_path: Path) -> None:
    source, root = shared_data / "hippocampus", tmp_path / "hippocampus"
    splits = json.loads((source / "splits.json").read_text())
    few = {"train": splits["train"][:4], "test": splits["test"][:2]}
    linked(source, root, ("imagesTr", "labelsTr"), few["train"] + few["test"])
    (root / "splits.json").write_text(json.dumps(few))
    (root / "dataset.json").symlink_to(source / "dataset.json")
    cache = prepare(root, tmp_path / "cache", jobs=1, quiet=True)
    assert list(cache.train) == few["train"]
    assert cache.manifest.class_names == {0: "background", 1: "Anterior", 2: "Posterior"}
    for name in cache.train:
        case = cache.case(name)
        label = nibabel.load(source / "labelsTr" / f"{name}.nii.gz")
        assert np.array_equal(case.label, np.asarray(label.dataobj))
        assert case.distance.shape == (2, *label.shape)
        assert abs(case.image.std(dtype=np.float64) - 1) < 1e-3
