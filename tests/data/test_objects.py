"""Objects that a coarser grid loses, told by class and size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.data.conftest import ball, noise, save

from simcvd.checking.check import check
from simcvd.data.objects import lost, objects, smallest
from simcvd.data.prepare import prepare
from simcvd.data.preprocess import label_to_network
from simcvd.planning import make_plan
from simcvd.preprocessing import Preprocessing
from simcvd.types import Volume


def label(spacing: float = 1.0) -> Volume:
    """A cube of 512 voxels and one of 8, both of value 1, and a plate of 36 of value 3."""
    array = np.zeros((24, 24, 24), np.int32)
    array[2:10, 2:10, 2:10] = 1
    array[15:17, 15:17, 15:17] = 1
    array[12:18, 2:8, 21] = 3
    return Volume(array=array, affine=np.diag([-spacing, spacing, spacing, 1.0]))


def test_objects_by_hand() -> None:
    found = [(one.value, one.voxels) for one in objects(label().array)]
    assert sorted(found) == [(1, 8), (1, 512), (3, 36)]
    assert smallest(label()) == {1: 8, 3: 36}
    corner = np.zeros((4, 4, 4), int)
    corner[0, 0, 0] = corner[1, 1, 1] = 2  # touching by a corner is one object
    assert [(one.value, one.voxels) for one in objects(corner)] == [(2, 2)]


def test_what_five_millimetres_lose() -> None:
    said = lost(label(), label_to_network(label(), Preprocessing(spacing=(5, 5, 5))), {1: "a"})
    assert said == [
        "class 'a' loses 1 of 2 objects, the largest of 8 voxels (8 mm3)",
        "class '3' loses 1 of 1 objects, the largest of 36 voxels (36 mm3)",
        "class 'a' keeps 24% of its volume",  # one voxel of 125 mm3 of 520
    ]
    same = label_to_network(label(), Preprocessing())
    assert lost(label(), same, {}) == []
    finer = label_to_network(label(2.0), Preprocessing(spacing=(1, 1, 1)))
    assert lost(label(2.0), finer, {}) == []


def test_a_class_that_shrinks() -> None:
    array = np.zeros((24, 24, 24), np.int32)
    array[2:12, 2:12, 2:12] = 1
    after = np.zeros((12, 12, 12), np.int32)
    after[1:5, 1:5, 1:4] = 1  # 48 voxels of 8 mm3 are 384 of 1000 mm3
    grid = np.diag([2.0, 2, 2, 1])
    grid[:3, 3] = 0.5
    said = lost(
        Volume(array=array, affine=np.eye(4)), Volume(array=after, affine=grid), {1: "organ"}
    )
    assert said == ["class 'organ' keeps 38% of its volume"]


def test_check_plan_and_prepare_tell(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for seed, name in enumerate("abcdef"):
        save(root / "images" / f"{name}.nii.gz", noise(seed), np.diag([1.0, 1, 2, 1]))
    fine = np.diag([0.5, 0.5, 1.0, 1])
    save(root / "images" / "fine.nii.gz", noise(9), fine)
    lesion = np.zeros_like(ball())
    lesion[3:5, 3, 3] = 1  # 2 voxels of 0.25 mm3; half a voxel of the others has 1 mm3
    save(root / "labels" / "fine.nii.gz", lesion, fine)
    save(root / "labels" / "a.nii.gz", ball())
    (said,) = (f for f in check(root, jobs=1, quiet=True).findings if f.kind == "small object")
    assert said.scan == "fine"
    assert "value 1 has 0.5 mm3, less than half a voxel of the usual size (2 mm3)" in said.message
    plan = make_plan(root, jobs=1)
    assert "class '1' in fine (0.5 mm3)" in " ".join(plan.warnings)
    cache = prepare(root, tmp_path / "cache", spacing=(3,), jobs=1, quiet=True)
    (note,) = cache.case("fine").info.notes
    assert note.endswith(
        "on a grid of 3 x 3 x 3 mm, class 'class 1' loses 1 of 1 objects, the largest of 2 voxels "
        "(0.5 mm3)"
    )
