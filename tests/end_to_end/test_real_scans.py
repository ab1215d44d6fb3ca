"""On the real scans, where they are at hand; skipped with the reason printed where not."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.small import NETWORK

from simcvd.data.prepare import prepare
from simcvd.training.loop import train

LABELED = 8
SETTINGS = ["train.patch=(16,16,8)", "train.iterations=3", "method.pool=16", "method.hidden=32"]


def _without_labels(source: Path, target: Path) -> Path:
    """The benchmark's folder by links, with the labels of the first 8 and the test scans only."""
    train_names = (source / "train.list").read_text().split()
    hidden = set(train_names[LABELED:])
    for kind in ("images", "labels"):
        (target / kind).mkdir(parents=True)
        for path in (source / kind).iterdir():
            if kind == "images" or path.name.removesuffix(".nii.gz") not in hidden:
                (target / kind / path.name).symlink_to(path)
    for name in ("train.list", "test.list"):
        (target / name).symlink_to(source / name)
    return target


def test_the_other_72_labels_of_the_left_atrium_change_no_bit(
    shared_data: Path, tmp_path: Path
) -> None:
    few = _without_labels(shared_data / "la2018", tmp_path / "scans")
    weights = []
    for name, source in {"all": shared_data / "la2018", "few": few}.items():
        cache = prepare(source, tmp_path / f"cache-{name}", spacing=(5.0,), quiet=True)
        have = sum(cache.manifest.cases[case].has_label for case in cache.train)
        assert have == (80 if name == "all" else LABELED)
        train(
            cache.root,
            tmp_path / f"run-{name}",
            labeled=LABELED,
            settings=SETTINGS,
            network=NETWORK,
        )
        weights.append(load_file(tmp_path / f"run-{name}" / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
