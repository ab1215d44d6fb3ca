"""One rule for names, and no path outside the folder it was asked for."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tests.data.conftest import ball, noise, save
from tests.data.dicom_series import write_series

from simcvd.api import write_scans
from simcvd.data.cache import Cache
from simcvd.data.prepare import prepare
from simcvd.formats import read_label, write_label
from simcvd.inference.inputs import jobs
from simcvd.inference.model import ModelSpec
from simcvd.layouts.recognise import recognise
from simcvd.naming import LONGEST, checked, fault, inside, normal, shown
from simcvd.preprocessing import Preprocessing
from simcvd.report.results import load_result
from simcvd.types import SimcvdError

BAD = [
    "",
    " ",
    ".",
    "..",
    ".hidden",
    "../../x",
    "a/b",
    "a\\b",
    "a\nb",
    "a\x1b[31m",
    "a\x00b",
    "a\x85b",
    "a\u2028b",
    "\udcff",
    "x" * (LONGEST + 1),
    "\u00e9" * (LONGEST // 2 + 1),
    unicodedata.normalize("NFD", "é"),
]


@pytest.mark.parametrize("name", ["p1", "a b", "P-1_2.3", "é", "患者1", "a=b$c|d", "x" * LONGEST])
def test_names(name: str, tmp_path: Path) -> None:
    assert fault(name) is None
    assert inside(tmp_path, name) == tmp_path / name
    assert inside(tmp_path, name, ".nii.gz") == tmp_path / f"{name}.nii.gz"


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match=r"^a scan: the name .* Give it another name\.$"):
        checked(name, "a scan")
    with pytest.raises(SimcvdError):
        inside(tmp_path, name)
    assert shown(name).isprintable()


def test_a_name_of_another_type_is_none() -> None:
    assert fault(7) == "is not text but int"  # type: ignore[arg-type]


def test_accents_of_macos_become_those_of_others() -> None:
    assert normal("e\u0301") == "\u00e9"


def test_the_longest_name_is_segmented_in_every_format(tmp_path: Path) -> None:
    """The ending comes on top, and so does the mark of the temporary file."""
    save(tmp_path / "scans" / f"{'x' * LONGEST}.nii", noise(0))
    for format in ("nifti", "nrrd", "mha"):
        (job,) = jobs([tmp_path / "scans"], tmp_path / "out", wanted=format).jobs
        write_label(job.target, ball(), np.eye(4))
        assert read_label(job.target).array.any()


def test_links_that_lead_outside_are_refused(tmp_path: Path) -> None:
    folder, victim = tmp_path / "cache", tmp_path / "victim"
    folder.mkdir()
    victim.mkdir()
    (folder / "p1").symlink_to(victim)
    with pytest.raises(SimcvdError, match="lies outside"):
        inside(folder, "p1")
    (folder / "p2").mkdir()
    (folder / "p3").symlink_to(folder / "p2")
    assert inside(folder, "p3") == folder / "p3"


OUTSIDE = "../../victim"


def cache_with(tmp_path: Path, small: Cache, **changes: object) -> Path:
    """A copy of a prepared cache whose manifest says something else."""
    root = tmp_path / "cache"
    shutil.copytree(small.root, root)
    path = root / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return root


def test_names_of_a_manifest(small_cache: Cache, tmp_path: Path) -> None:
    manifest = json.loads((small_cache.root / "manifest.json").read_text())
    scans = {**manifest["cases"], OUTSIDE: manifest["cases"][small_cache.test[0]]}
    classes = {**manifest["class_names"], "1": OUTSIDE}
    for number, changes in enumerate(
        ({"cases": scans}, {"test": [OUTSIDE]}, {"train": [OUTSIDE]}, {"class_names": classes})
    ):
        root = cache_with(tmp_path / str(number), small_cache, **changes)
        with pytest.raises(SimcvdError, match=r"manifest\.json: .*a (scan|class): the name"):
            Cache(root)


def test_a_class_of_a_dataset_json_and_of_a_mask(tmp_path: Path) -> None:
    save(tmp_path / "a" / "imagesTr" / "p.nii.gz", noise(0))
    labels = {"background": 0, OUTSIDE: 1}
    info = {"channel_names": {"0": "MRI"}, "labels": labels}
    (tmp_path / "a" / "dataset.json").write_text(json.dumps(info))
    with pytest.raises(SimcvdError, match=r"a class: the name .*victim' begins with a dot"):
        recognise(tmp_path / "a")
    info = {"channel_names": {"0": OUTSIDE}, "labels": {"background": 0, "x": 1}}
    (tmp_path / "a" / "dataset.json").write_text(json.dumps(info))
    with pytest.raises(SimcvdError, match="a channel: the name"):
        recognise(tmp_path / "a")


def test_names_of_a_model_and_of_metrics(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match="model: a class: the name"):
        ModelSpec(
            network={"channels": 1, "classes": 2},
            class_names={0: "background", 1: OUTSIDE},
            label_values={0: 0, 1: 1},
            preprocessing=Preprocessing(),
            patch=(8, 8, 8),
            stride=(4, 4, 4),
            method="supervised",
            trained_on={},
        )
    score = {"case": OUTSIDE, "label": 1, "name": "a", "miss": "", "values": {"dice": 1.0}}
    report = {"scores": [score], "notes": [], "info": {}}
    (tmp_path / "metrics.json").write_text(json.dumps(report))
    with pytest.raises(SimcvdError, match=r"metrics\.json: a scan: the name"):
        load_result(tmp_path, "run")


def test_a_series_number_leads_nowhere(tmp_path: Path) -> None:
    """Two series in one folder are called by their SeriesNumber, which may be anything."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "thesis.txt").write_text("mine")
    for seed, number in enumerate(("1/../../../victim", "2")):
        tags = {"t0020x0011": number, "t0020x000e": f"1.{seed}"}
        for path in write_series(tmp_path / "new", noise(seed), np.diag([-1.0, -1, 2, 1]), **tags):
            (tmp_path / "data" / "images" / "p").mkdir(parents=True, exist_ok=True)
            path.rename(tmp_path / "data" / "images" / "p" / f"{seed}{path.name}")
    save(tmp_path / "data" / "labels" / "p_2.nii.gz", ball(), np.diag([-1.0, -1, 2, 1]))
    cache = prepare(tmp_path / "data", tmp_path / "work" / "cache", jobs=1, quiet=True)
    assert set(cache.train) == {"p_1.0", "p_2"}
    assert [path.name for path in victim.iterdir()] == ["thesis.txt"]
    written = {path.name for path in (tmp_path / "work" / "cache" / "cases").iterdir()}
    assert written == {"p_1.0", "p_2"}


def test_names_of_a_list_and_of_scans_in_memory(tmp_path: Path) -> None:
    save(tmp_path / "d" / "images" / "p.nii.gz", noise(0))
    (tmp_path / "d" / "train.list").write_text(f"{OUTSIDE}\np\n")
    assert "victim of the train list has no scan" in " ".join(recognise(tmp_path / "d").problems)
    with pytest.raises(SimcvdError, match="the name"):
        write_scans(tmp_path / "w", {OUTSIDE: noise(0)}, {}, affines=np.eye(4))
    assert not (tmp_path / "victim.nii.gz").exists()
