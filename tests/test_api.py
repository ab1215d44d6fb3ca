"""``import simcvd``: the steps of the job on arrays and on paths, which give the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.small import LABELED, NETWORK, write_scans

import simcvd
from simcvd.data.cache import Cache
from simcvd.inference.model import Model
from simcvd.training.log import read_log
from simcvd.types import SimcvdError

AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])
SETTINGS = {"train.iterations": 2, "train.patch": (16, 16, 8), "train.precision": "float32"}


@pytest.fixture(scope="module")
def run(small_cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("api") / "run"
    return simcvd.train(
        small_cache,
        str(out),
        labeled=LABELED,
        method="supervised",
        recipe="paper",
        network=NETWORK,
        settings=SETTINGS,
    )


@pytest.fixture
def model(run: Path) -> Model:
    return simcvd.load_model(run)


def test_the_names_are_there_and_load_nothing_until_asked_for() -> None:
    code = (
        "import sys, simcvd; assert set(simcvd.__all__) <= set(dir(simcvd)); "
        "assert 'numpy' not in sys.modules and 'torch' not in sys.modules; "
        "assert all(callable(getattr(simcvd, name)) for name in simcvd.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'predicct'"):
        _ = simcvd.predicct  # type: ignore[attr-defined]


def test_scoring_arrays_loads_nothing_that_is_slow() -> None:
    code = (
        "import sys, time, numpy as np, simcvd\n"
        "a = np.zeros((32, 32, 16), np.uint8); a[8:24, 8:24, 4:12] = 1\n"
        "(score,) = simcvd.evaluate(a, np.roll(a, 1, 0), spacing=(1.0, 1.0, 2.0))\n"
        "assert abs(score.values['dice'] - 15 / 16) < 1e-12\n"
        "slow = {'torch', 'lightning_fabric', 'matplotlib', 'pandas', 'joblib', 'rich'}\n"
        "slow.add('SimpleITK')\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
        "print(time.process_time())\n"
        "print(*[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, kilobytes = map(float, done.stdout.split())
    print(f"{seconds:.2f} s of processor time, {kilobytes / 1024:.0f} MB")
    assert kilobytes / 1024 < 150


def test_an_array_and_its_file_are_segmented_alike(model: Model, tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(17, 20, 9)).astype(np.float32)
    file = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), file)
    out = tmp_path / "out" / "seg.nii.gz"
    one = simcvd.predict(model, image, affine=AFFINE)
    two = simcvd.predict(model, file, out=out)
    assert one.shape == image.shape
    assert len(np.unique(one)) > 1
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(np.asarray(nibabel.load(out).dataobj), one)
    np.testing.assert_array_equal(nibabel.load(out).affine, AFFINE)


def test_a_folder_of_a_run_does_for_a_model(run: Path, model: Model) -> None:
    image = np.random.default_rng(1).normal(size=(16, 16, 8))
    by_path = simcvd.predict(run, image, affine=AFFINE, device="cpu")
    np.testing.assert_array_equal(by_path, simcvd.predict(model, image, affine=AFFINE))


@pytest.mark.parametrize(
    ("array", "affine", "complaint"),
    [
        (np.zeros((16, 16, 8)), None, "give affine"),
        (np.zeros((16, 16)), AFFINE, r"shape \(16, 16\)"),
        (np.full((16, 16, 8), np.nan), AFFINE, "NaN"),
        (np.zeros((16, 16, 8)), np.zeros((4, 4)), "invertible"),
        (np.zeros((2, 16, 16, 8)), AFFINE, r"needs \[1, X, Y, Z\]"),
    ],
)
def test_what_is_no_scan_is_refused(
    model: Model, array: np.ndarray, affine: np.ndarray | None, complaint: str
) -> None:
    with pytest.raises(SimcvdError, match=complaint):
        simcvd.predict(model, array, affine=affine)


def test_scores_by_hand_and_the_same_from_files(tmp_path: Path) -> None:
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[2:6, 2:6, 2:6] = 3
    prediction = np.zeros_like(reference)
    prediction[3:6, 2:6, 2:6] = 3  # 48 of 64 voxels: Dice 2 * 48 / 112
    for name, array in (("p", prediction), ("r", reference)):
        (tmp_path / name).mkdir()
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / name / "case.nii")
    scores = simcvd.evaluate(prediction, reference, spacing=(1, 1, 2), class_names={3: "ball"})
    (score,) = scores
    assert (score.name, score.label, score.miss) == ("ball", 3, "")
    assert score.values["dice"] == pytest.approx(96 / 112)
    files = simcvd.evaluate(tmp_path / "p" / "case.nii", tmp_path / "r" / "case.nii")
    folders = simcvd.evaluate(tmp_path / "p", tmp_path / "r")
    assert files[0].values == folders[0].values == score.values
    assert simcvd.summarise(scores)[0].means["dice"].mean == score.values["dice"]


def test_a_plan_decides_a_training_and_the_run_becomes_one_file(tmp_path: Path) -> None:
    source = write_scans(tmp_path / "scans")
    made = simcvd.plan(source, jobs=1).smaller(widths_factor=0.1, iterations=2)
    simcvd.write_plan(made, tmp_path / "plan.toml")
    plan = simcvd.read_plan(tmp_path / "plan.toml")
    cache = simcvd.prepare(
        source, tmp_path / "cache", jobs=1, quiet=True, **plan.prepare_arguments()
    )
    run = simcvd.train(
        cache, tmp_path / "run", labeled=LABELED, plan=plan, settings={"train.iterations": 1}
    )
    exported = simcvd.export(run, tmp_path / "model.zip")
    one, two = simcvd.load_model(run).spec, simcvd.load_model(exported.path).spec
    assert one == two
    assert one.patch == plan.patch
    assert one.network["widths"] == plan.widths
    assert len(read_log(run)) == 1  # the settings are stronger than the plan


def test_arrays_are_not_scored_against_what_they_do_not_fit() -> None:
    array = np.zeros((4, 4, 4), int)
    with pytest.raises(SimcvdError, match="give spacing"):
        simcvd.evaluate(array, array)
    with pytest.raises(SimcvdError, match="whole numbers"):
        simcvd.evaluate(array + 0.5, array, spacing=(1, 1, 1))
    with pytest.raises(SimcvdError, match="two arrays or two paths"):
        simcvd.evaluate(array, "reference.nii.gz", spacing=(1, 1, 1))


def test_arrays_written_as_scans_prepare_like_the_files_they_came_from(
    small_cache: Cache, tmp_path: Path
) -> None:
    source = write_scans(tmp_path / "files")
    images = {path.name[:5]: nibabel.load(path) for path in sorted(source.glob("images/*"))}
    labels = {path.name[:5]: nibabel.load(path) for path in sorted(source.glob("labels/*"))}
    folder = simcvd.write_scans(
        tmp_path / "arrays",
        {name: image.get_fdata() for name, image in images.items()},
        {name: np.asarray(label.dataobj) for name, label in labels.items()},
        affines=next(iter(images.values())).affine,
        test=small_cache.test,
    )
    cache = simcvd.prepare(folder, tmp_path / "cache", jobs=1, quiet=True)
    assert (cache.train, cache.test) == (small_cache.train, small_cache.test)
    for name in cache.train:
        np.testing.assert_array_equal(cache.case(name).image, small_cache.case(name).image)
        np.testing.assert_array_equal(cache.case(name).label, small_cache.case(name).label)


def test_several_channels_are_written_as_one_file_each(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = {f"c{i}": random.normal(size=(2, 8, 8, 8)) for i in range(3)}
    labels = {name: (image[0] > 0).astype(int) for name, image in images.items()}
    folder = simcvd.write_scans(tmp_path / "scans", images, labels, affines=AFFINE)
    cache = simcvd.prepare(folder, tmp_path / "cache", jobs=1, quiet=True)
    assert cache.task_info.channels == 2
    with pytest.raises(SimcvdError, match="c0: its label has shape"):
        simcvd.write_scans(tmp_path / "bad", images, {"c0": np.zeros((2, 2, 2))}, affines=AFFINE)
    with pytest.raises(SimcvdError, match="no image for c9"):
        simcvd.write_scans(tmp_path / "bad", images, {"c9": labels["c0"]}, affines=AFFINE)
