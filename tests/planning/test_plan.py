"""Plans of made-up data sets, their file, and training from one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.data.dicom_series import write_series
from typer.testing import CliRunner

from simcvd.cli import app
from simcvd.data.prepare import prepare
from simcvd.demo.phantom import write_phantoms
from simcvd.planning import Plan, make_plan, read_plan, write_plan
from simcvd.training.loop import train
from simcvd.training.recipes import STRONG
from simcvd.training.run import read_config
from simcvd.types import SimcvdError, Triple

PLAN = Plan(
    channels=1,
    classes=3,
    spacing=(0.8, 0.8, 5.0),
    normalization="ct",
    window=(-150.0, 250.0),
    crop="nonzero",
    patch=(32, 32, 8),
    widths=(4, 8, 16),
    blocks=(1, 2, 2),
    strides=((2, 2, 1), (2, 2, 2)),
    iterations=7,
    reasons={"spacing": "Because. " * 30 + "End.", "patch": "It fits."},
    warnings=("Labelled scans are odd.", "And small."),
)


def save(path: Path, array: np.ndarray, spacing: Triple = (1, 1, 1)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


def write_ct(root: Path, *, labels: int = 6, scale: float = 1.0) -> Path:
    """Six scans of -1000 HU with a body of 0 HU and an organ whose values are 1 to 100."""
    for i in range(6):
        rng = np.random.default_rng(i)
        image = np.full((24, 24, 10), -1000.0)
        image[4:20, 4:20] = rng.normal(0, 5, (16, 16, 10))
        label = np.zeros(image.shape, np.uint8)
        label[8:12, 8:13, 2:7] = 1  # 4 x 5 x 5
        image[8:12, 8:13, 2:7] = np.arange(1, 101).reshape(4, 5, 5)
        save(root / "images" / f"c{i}.nii.gz", (scale * image).astype(np.float32), (0.8, 0.8, 5))
        if i < labels:
            save(root / "labels" / f"c{i}.nii.gz", label, (0.8, 0.8, 5))
    return root


def write_mr(root: Path, sets: list[tuple[int, float, float]]) -> Path:
    """Scans (count, mm, mean intensity); those of the first set are labelled."""
    rng, number = np.random.default_rng(0), 0
    for which, (count, spacing, mean) in enumerate(sets):
        for _ in range(count):
            image = np.abs(rng.normal(mean, 30, (16, 14, 12))).astype(np.float32)
            own = spacing * rng.uniform(0.95, 1.05)
            save(root / "images" / f"m{number}.nii.gz", image, (own, own, own))
            if which == 0:
                label = (image > mean).astype(np.uint8)
                save(root / "labels" / f"m{number}.nii.gz", label, (own, own, own))
            number += 1
    return root


def test_ct_is_seen_in_its_values_and_windowed_by_the_organ(tmp_path: Path) -> None:
    plan = make_plan(write_ct(tmp_path), jobs=1)
    # The 0.5th and 99.5th percentile of 1..100 are 1.495 and 99.505, rounded outwards.
    assert (plan.normalization, plan.window) == ("ct", (1.0, 100.0))
    assert "1st percentile -1000" in plan.reasons["normalization"]
    # The air is cut away; 16 x 16 in the plane is halved twice, then the thick slices are, once.
    assert (plan.spacing, plan.crop, plan.patch) == ((0.8, 0.8, 5.0), "nonzero", (16, 16, 10))
    assert plan.strides == ((2, 2, 1), (2, 2, 1), (1, 1, 2))
    assert plan.widths == (16, 32, 64, 128)


def test_values_of_no_ct_are_z_scored(tmp_path: Path) -> None:
    plan = make_plan(write_ct(tmp_path, scale=0.01), jobs=1)
    assert (plan.normalization, plan.window) == ("zscore", None)


@pytest.mark.parametrize(("modality", "expected"), [("CT", "ct"), ("MR", "zscore")])
def test_dicom_says_what_it_is(tmp_path: Path, modality: str, expected: str) -> None:
    array = np.random.default_rng(0).integers(-1000, 200, (12, 10, 8)).astype(np.int16)
    write_series(tmp_path / "images" / "a", array, np.eye(4), t0008x0060=modality)
    save(tmp_path / "labels" / "a.nii.gz", (array > 0).astype(np.uint8))
    assert make_plan(tmp_path, jobs=1).normalization == expected


def test_an_empty_border_is_cut_away_where_it_is_large(tmp_path: Path) -> None:
    image = np.zeros((30, 30, 10), np.float32)
    image[5:21, 5:21] = np.random.default_rng(0).uniform(1, 2, (16, 16, 10))
    save(tmp_path / "images" / "a.nii.gz", image)
    save(tmp_path / "labels" / "a.nii.gz", (image > 1.5).astype(np.uint8))
    plan = make_plan(tmp_path, jobs=1)
    assert (plan.crop, plan.patch) == ("nonzero", (16, 16, 10))
    assert "72%" in plan.reasons["crop"]  # 1 - 16 * 16 / (30 * 30)


def test_classes_and_channels_cost_memory_and_so_patch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, classes, channels in (("few", 2, 1), ("many", 20, 4)):
        label = rng.integers(0, classes, (64, 64, 64)).astype(np.uint8)
        save(tmp_path / name / "labels" / "a.nii.gz", label)
        for c in range(channels):
            image = rng.normal(100, 9, label.shape).astype(np.float32)
            ending = f"_{c:04d}" if channels > 1 else ""
            save(tmp_path / name / "images" / f"a{ending}.nii.gz", image)
    few, many = (make_plan(tmp_path / n, memory=1400 << 20, jobs=1) for n in ("few", "many"))
    assert (few.channels, few.classes, many.channels, many.classes) == (1, 2, 4, 20)
    assert few.patch > many.patch
    assert max(few.memory_bytes, many.memory_bytes) <= 1400 << 20
    with pytest.raises(SimcvdError, match="not enough memory"):
        make_plan(tmp_path / "many", memory=1 << 20, jobs=1)


def test_labelled_scans_unlike_the_others_are_told(tmp_path: Path) -> None:
    apart = make_plan(write_mr(tmp_path / "a", [(8, 1.0, 200), (10, 1.5, 400)]), jobs=1)
    text = "\n".join(apart.warnings)
    assert "voxel size left-right: the median of 8 labelled is" in text
    assert "intensity, median" in text
    assert read_plan_of(apart, tmp_path).warnings == apart.warnings


def test_labelled_scans_like_the_others_are_no_news(tmp_path: Path) -> None:
    assert (
        make_plan(write_mr(tmp_path / "b", [(8, 1.0, 200), (10, 1.0, 200)]), jobs=1).warnings == ()
    )
    # Sure but small: 2 % of the voxel size, on any number of scans.
    assert (
        make_plan(write_mr(tmp_path / "c", [(20, 1.0, 200), (20, 1.02, 200)]), jobs=1).warnings
        == ()
    )


def test_test_scans_are_not_looked_at(tmp_path: Path) -> None:
    root = write_mr(tmp_path, [(4, 1.0, 200), (2, 9.0, 200)])
    (root / "train.list").write_text("m0\nm1\nm2\nm3\n", encoding="utf-8")
    (root / "test.list").write_text("m4\n", encoding="utf-8")
    (root / "images" / "m4.nii.gz").write_bytes(b"not even a scan")
    assert make_plan(root, jobs=1).reasons["spacing"] == "Median of 4 scans."


def test_unreadable_scans_are_refused(tmp_path: Path) -> None:
    root = write_mr(tmp_path, [(3, 1.0, 200)])
    (root / "images" / "m1.nii.gz").write_bytes(b"not even a scan")
    with pytest.raises(SimcvdError, match=r"(?s)simcvd check.*m1.nii.gz: cannot be read"):
        make_plan(root, jobs=1)


def read_plan_of(plan: Plan, folder: Path) -> Plan:
    write_plan(plan, folder / "plan.toml")
    return read_plan(folder / "plan.toml")


def test_a_plan_is_read_back_as_it_was(tmp_path: Path) -> None:
    assert read_plan_of(PLAN, tmp_path) == PLAN
    bare = dataclasses.replace(PLAN, normalization="zscore", window=None, reasons={}, warnings=())
    assert read_plan_of(bare, tmp_path) == bare
    lines = (tmp_path / "plan.toml").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("patch = [32, 32, 8]", "patch = [30, 32, 8]", r"a multiple of \(4, 4, 2\)"),
        ("patch =", "pach =", "no 'pach'; did you mean patch"),
        ("patch = [32, 32, 8]", "", "patch missing"),
        ("batch = 4", 'batch = "four"', "batch is 'four': expected int, got str"),
        ("batch = 4", "batch = 1", "labeled_batch is 2 of batch 1"),
        ("[4, 8, 16]", "[4, 8]", "2 widths, 3 blocks and 2 strides"),
        ('"ct"', '"mr"', "normalization"),
        ("window = [-150.0, 250.0]", "", "window"),
        ("spacing = [0.8, 0.8, 5.0]", "spacing = [0.8, 0.8]", "spacing"),
        ("spacing = [0.8, 0.8, 5.0]", "spacing = 0.8 mm", "cannot be read as a plan"),
        ("iterations = 7", "iterations = 0", "iterations is 0"),
        (
            "iterations = 7",
            f"iterations = -{10**400}",
            r"iterations is -10*; it must be at least 1",
        ),
        ("mirror = []", "mirror = [3]", r"mirror is \(3,\); it must be at least 0 and at most 2"),
        ("patch =", f"patch = {'[' * 5000}", "brackets within brackets without end"),
    ],
)
def test_a_wrong_edit_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "plan.toml"
    write_plan(PLAN, path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SimcvdError, match=message) as error:
        read_plan(path)
    assert str(path) in str(error.value)


def test_a_right_edit_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    write_plan(PLAN, path)
    text = path.read_text(encoding="utf-8").replace("[0.8, 0.8, 5.0]", "[1, 1, 4]")
    path.write_text(text, encoding="utf-8-sig")  # as some editors of Windows save it
    assert read_plan(path) == dataclasses.replace(PLAN, spacing=(1.0, 1.0, 4.0))


def test_smaller_and_quick_plans_cost_less() -> None:
    planned = dataclasses.replace(PLAN, widths=(16, 32, 64), iterations=6000)
    small, quick = planned.smaller(widths_factor=0.25, iterations=50), planned.quick()
    assert (small.widths, small.iterations) == ((8, 8, 16), 50)
    assert (quick.widths, quick.blocks, quick.iterations) == ((8, 16, 32), (1, 1, 1), 400)
    assert quick.memory_bytes < planned.memory_bytes
    strong = dataclasses.replace(planned, recipe="strong", base=3000).quick()
    assert (quick.lr, strong.lr) == (0.05, 0.003)
    assert (strong.widths, strong.base, strong.iterations) == (planned.widths, 400, 200)
    # 0.6 of 32 x 32 x 8 is 19.2 x 19.2 x 4.8, rounded to multiples of 4, 4 and 2
    assert (quick.patch, quick.strides) == ((20, 20, 4), planned.strides)


def test_the_command_line_from_scans_to_a_run(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "scans", 5, seed=0, test=1, labeled=2)
    file, cache, run = tmp_path / "plan.toml", tmp_path / "cache", tmp_path / "run"

    def simcvd(*arguments: object) -> None:
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert result.exit_code == 0, result.output

    simcvd("plan", tmp_path / "scans", "--out", file, "--workers", 1)
    plan = read_plan(file)
    # 48 x 48 x 32 voxels of 2 x 2 x 3 mm; all three axes are halved together, three times.
    assert (plan.spacing, plan.patch) == ((2.0, 2.0, 3.0), (48, 48, 32))
    assert plan.strides == ((2, 2, 2),) * 3
    write_plan(plan.smaller(widths_factor=0.1, iterations=2), file)
    simcvd("prepare", tmp_path / "scans", "--out", cache, "--workers", 1, "--plan", file)
    explicit = ["--iterations", 3, "--set", "train.patch=(16,16,16)", "--set", "method.pool=16"]
    simcvd("train", cache, "--labeled", 2, "--out", run, "--plan", file, *explicit)
    record = read_config(run)["run"]
    assert record["network"]["widths"] == [8, 8, 8, 13]  # a tenth of 128 is 13
    assert record["train"]["iterations"] == 3
    assert record["train"]["optimizer"] == "adamw"  # the plan's recipe
    assert record["train"]["patch"] == [16, 16, 16]
    assert record["config"]["pool"] == 16


@pytest.mark.parametrize(
    ("shape", "spacing", "strides"),
    [((16, 16, 7), (0.8, 0.8, 5.0), ((2, 2, 1), (2, 2, 1))), ((6, 5, 3), (1, 1, 1), ())],
)
def test_thick_and_tiny_scans_train(
    tmp_path: Path, shape: tuple[int, int, int], spacing: Triple, strides: object
) -> None:
    rng = np.random.default_rng(0)
    for i in range(4):
        image = rng.normal(100, 9, shape).astype(np.float32)
        save(tmp_path / "images" / f"a{i}.nii.gz", image, spacing)
        if i < 2:
            save(tmp_path / "labels" / f"a{i}.nii.gz", (image > 105).astype(np.uint8), spacing)
    plan = make_plan(tmp_path, jobs=1).smaller(iterations=2)
    assert plan.strides == strides
    arguments = plan.prepare_arguments()
    prepare(tmp_path, tmp_path / "cache", jobs=1, quiet=True, **arguments)
    settings = plan.settings("simcvd")
    train(tmp_path / "cache", tmp_path / "run", labeled=2, settings=settings, recipe=STRONG)
    assert (tmp_path / "run" / "model.json").is_file()


def test_real_scans(shared_data: Path) -> None:
    folder = shared_data / "hippocampus"
    if not folder.is_dir():
        pytest.skip(f"the real scans are not here: {folder} does not exist")
    plan = make_plan(folder, memory=4 << 30)
    assert (plan.spacing, plan.patch) == ((1.0, 1.0, 1.0), (40, 56, 40))
    assert (plan.normalization, plan.crop) == ("zscore", "none")


def test_a_thin_patch_is_planned_without_rotations() -> None:
    """Only X has more than a third of the longest side's voxels: nothing to turn in."""
    strong = dataclasses.replace(
        PLAN, recipe="strong", patch=(64, 16, 8), spacing=(1.0, 1.0, 1.0), base=500
    )
    assert "augment.affine_chance=0.0" in strong.settings()
    thick = dataclasses.replace(strong, patch=(64, 32, 32))
    assert "augment.affine_chance=0.0" not in thick.settings()


def test_ends_that_are_named_are_not_mirrored(tmp_path: Path) -> None:
    """Two halves of a box along Y, in the same order in both scans."""
    for name in ("a", "b"):
        label = np.zeros((16, 16, 16), np.uint8)
        label[4:12, 2:8, 4:12], label[4:12, 8:14, 4:12] = 1, 2
        save(tmp_path / "images" / f"{name}.nii.gz", label.astype(np.float32), (1, 1, 1))
        save(tmp_path / "labels" / f"{name}.nii.gz", label, (1, 1, 1))
    plan = make_plan(tmp_path, jobs=1)
    assert plan.mirror == (0, 2)
    assert "not front-back, along which" in plan.reasons["mirror"]
