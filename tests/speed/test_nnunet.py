"""What nnU-Net is given and how both are tabulated, without nnU-Net."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest
from tests.small import LABELED, make_cache

from simcvd.formats import write_label

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("nnunet_peer")


def test_the_layout_is_nnunet_s(peer: ModuleType, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "data")
    names = cache.train[:LABELED]
    peer.export(cache, names, cache.test, tmp_path / "peer")
    data = tmp_path / "peer" / "raw" / "Dataset001_peer"
    assert sorted(p.name for p in (data / "imagesTr").iterdir()) == [
        f"{name}_0000.nii.gz" for name in names
    ]
    about = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    assert about["labels"]["background"] == 0
    assert sorted(about["labels"].values()) == [0, 1, 2]
    assert about["numTraining"] == LABELED
    case = cache.case(names[0])
    for folder, suffix, expected in (
        ("imagesTr", "_0000", case.image[0]),
        ("labelsTr", "", case.label),
    ):
        image = nibabel.load(data / folder / f"{names[0]}{suffix}.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
        np.testing.assert_allclose(image.affine, case.info.affine)
    scored = sorted(p.name for p in (tmp_path / "peer" / "scored").iterdir())
    assert scored == [f"{name}_0000.nii.gz" for name in cache.test]
    assert not (data / "labelsTr" / f"{cache.test[0]}.nii.gz").exists()


def test_both_are_scored_alike_and_stand_in_one_table(peer: ModuleType, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "data")
    for index, name in enumerate(cache.test):
        case = cache.case(name)
        label = np.array(case.label)
        affine = np.array(case.info.affine)
        write_label(tmp_path / "right" / f"{name}.nii.gz", label, affine)
        write_label(tmp_path / "wrong" / f"{name}.nii.gz", label * (index > 0), affine)
    spent = peer.Spent(seconds=60.4, steps=7, patches=42)
    entries = [
        peer.entry(
            *(system, cache, cache.test, tmp_path / folder, tmp_path / "scores" / folder),
            *([0, 1, 2], spent),
        )
        for system, folder in (("simcvd", "right"), ("nnU-Net", "wrong"))
    ]
    assert [(e.dice, e.worst, e.missed) for e in entries] == [(100, 100, 0), (50, 0, 2)]
    lines = peer.markdown(entries, "Made up.").splitlines()
    assert "| simcvd | 100.00 | 100.0 | 0.00 | 0 | 60 | 7 | 42 |" in lines
    assert "| nnU-Net | 50.00 | 0.0 | 0.00 | 2 | 60 | 7 | 42 |" in lines
    assert (tmp_path / "scores" / "wrong" / "metrics.json").exists()
