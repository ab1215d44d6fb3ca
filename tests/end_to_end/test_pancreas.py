"""The pancreas recipe on made-up scans in the layout of the public download.

The real scans are not at hand; what is tested is the layout, the command and the geometry.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.data.conftest import save
from tests.data.dicom_series import write_series
from tests.small import NETWORK

from simcvd.benchmark.catalogue import find_protocol
from simcvd.benchmark.check import check
from simcvd.benchmark.protocols import changed
from simcvd.checking.audit import CROPPED, audit
from simcvd.cli import app, joined
from simcvd.data.cache import Cache
from simcvd.inference.predict import predict_files
from simcvd.layouts.pancreas import case_folders
from simcvd.layouts.recognise import recognise
from simcvd.training.loop import train
from simcvd.training.score_run import score_run
from simcvd.types import SimcvdError

SHAPE, SPACING, MARGIN = (90, 80, 16), (0.8, 0.8, 2.5), 32  # 25 mm are 31.25 voxels of 0.8 mm
AFFINE = np.diag([-0.8, -0.8, 2.5, 1.0])  # a supine patient: DICOM's axes run left and back
AFFINE[:3, 3] = [30.0, 20.0, -400.0]


def scan(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units ``[X, Y, Z]`` of a body in air, with a bright organ, and the organ."""
    rng = np.random.default_rng(number)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    body = ((grid[0] - 45) / 42) ** 2 + ((grid[1] - 40) / 36) ** 2 < 1
    centre = (38 + number, 40, 8)
    organ = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, (7, 5, 4), strict=True)) < 1
    values = np.where(body, 40, -1000) + 90 * organ + rng.normal(0, 5, SHAPE)
    return values.round().astype(np.int16), organ.astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases, the third without a label, and lists."""
    root = tmp_path_factory.mktemp("pancreas")
    for number in (1, 2, 3, 4):
        values, organ = scan(number)
        series = root / "Pancreas-CT" / f"PANCREAS_000{number}" / "11-24-2015-80573" / "Pancreas-1"
        write_series(series, values, AFFINE, **{"0020x000e": f"1.2.3.{number}"})
        labels = root / "TCIA_pancreas_labels-02-05-2017"
        if number != 3:
            save(labels / f"label000{number}.nii.gz", organ, AFFINE)
    names = [f"PANCREAS_000{number}\n" for number in (1, 2, 4)]
    (root / "train.list").write_text("".join(names[:2]), encoding="utf-8")
    (root / "test.list").write_text(names[2], encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def cache(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Prepared by the command that the protocol states."""
    out = tmp_path_factory.mktemp("cache") / "cache"
    command = find_protocol("pancreas-published").about.partition("simcvd prepare ")[2]
    arguments = ["prepare", str(root), "--out", str(out), *command.split(), "--workers", "1"]
    app(joined(arguments), standalone_mode=False)
    return Cache(out)


def test_the_layout_is_recognised(root: Path) -> None:
    source = recognise(root)
    assert source.kind == "pancreas-ct"
    assert (source.train, source.test) == (("PANCREAS_0001", "PANCREAS_0002"), ("PANCREAS_0004",))
    assert source.cases["PANCREAS_0003"].label is None
    assert source.preprocessing.window == (-125.0, 275.0)
    apart = recognise(root / "Pancreas-CT", root / "TCIA_pancreas_labels-02-05-2017")
    assert {n: c.label for n, c in apart.cases.items()} == {
        n: c.label for n, c in source.cases.items()
    }
    assert len(case_folders(root)) == 4


def test_window_crop_and_grid_are_those_of_the_protocol(cache: Cache) -> None:
    case = cache.case("PANCREAS_0001")
    _, organ = scan(1)
    x, y = (np.flatnonzero(organ.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    box = [
        [max(int(side[0]) - MARGIN, 0), min(int(side[-1]) + 1 + MARGIN, length)]
        for side, length in ((x, 90), (y, 80))
    ]
    assert case.info.box == (*map(tuple, box), (0, 16))
    assert box == [[1, 78], [4, 77]]  # the organ's [33:46] and [36:45], 32 voxels around
    assert case.shape == (round(77 * 0.8), round(73 * 0.8), 40)
    np.testing.assert_allclose(case.info.spacing, (1, 1, 1), atol=1e-6)
    volume = np.count_nonzero(case.label) / (organ.sum() * np.prod(SPACING))
    assert volume == pytest.approx(1, abs=0.06)
    inside = case.image[0][np.asarray(case.label) == 1].mean()
    assert inside > case.image[0].mean() + 1  # the label lies on the organ


def test_the_organ_keeps_its_place_in_the_world(cache: Cache) -> None:
    case = cache.case("PANCREAS_0002")
    found = np.argwhere(np.asarray(case.label)).mean(axis=0)
    wanted = np.argwhere(scan(2)[1]).mean(axis=0)
    place = np.array(case.info.affine) @ [*found, 1] - AFFINE @ [*wanted, 1]
    assert np.abs(place).max() < 0.3


def test_the_data_are_held_against_the_protocols(cache: Cache) -> None:
    findings = audit(cache)
    assert [f.kind for f in findings] == [CROPPED]
    counts = {"train_scans": 2, "test_scans": 1}
    check(changed(find_protocol("pancreas-published"), **counts), cache, findings)
    with pytest.raises(SimcvdError, match=r"crop: label in .*, none in the protocol"):
        check(changed(find_protocol("pancreas-clean"), **counts), cache, findings)


def test_trained_scored_and_predicted_in_the_whole_scan(
    cache: Cache, root: Path, tmp_path: Path
) -> None:
    settings = [f"network.{name}={getattr(NETWORK, name)}" for name in ("widths", "blocks")]
    settings += [f"network.strides={NETWORK.strides}", "train.patch=(24,24,16)"]
    settings += ["train.iterations=2", "train.batch=2", "train.labeled_batch=1"]
    run = tmp_path / "run"
    train(cache.root, run, method="supervised", labeled=2, settings=settings)
    score_run(run, quiet=True)
    assert (run / "metrics.csv").read_text(encoding="utf-8").count("PANCREAS_0004") == 1
    series = root / "Pancreas-CT" / "PANCREAS_0004"
    (written,) = predict_files(run, [series], tmp_path / "out", format="nifti", device="cpu")
    image = nibabel.load(written)
    assert image.shape == SHAPE
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)


def test_what_does_not_fit_the_layout_is_said(root: Path, tmp_path: Path) -> None:
    (tmp_path / "PANCREAS_0001").mkdir()
    save(tmp_path / "label0001.nii.gz", np.zeros((4, 4, 4), np.uint8))
    save(tmp_path / "old" / "label0001.nii.gz", np.zeros((4, 4, 4), np.uint8))
    found = recognise(tmp_path)
    assert any("two labels of one number" in problem for problem in found.problems)
    assert any("holds 0 scans, not one series" in problem for problem in found.problems)
    assert any("labels have no scan" in note for note in found.notes)
