"""What is drawn and accepted, in the scan's own voxels: exactly that is written, and no more."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.data.dicom_series import write_series
from tests.review.work import OBLIQUE, SHAPE, affine_of, make_work, phantom

from simcvd.data.reading import label_on_scan
from simcvd.formats import read_image, read_label, segments_of, write_label
from simcvd.formats.table import best_writer
from simcvd.review import labels
from simcvd.review.labels import Unpacker, gzipped
from simcvd.review.round import Round
from simcvd.review.scans import view_of
from simcvd.review.server import application
from simcvd.types import SimcvdError

TAB = "0123456789ab"
OTHER = "ba9876543210"
CODES = [
    "".join(sides[axis] for axis, sides in zip(order, signs, strict=True))
    for order in permutations(range(3))
    for signs in product(("RAS", "LPI"), repeat=3)
]


def page(work: Path) -> TestClient:
    """A reader's browser on a server of its own."""
    home = "http://127.0.0.1:8417"
    client = TestClient(application(work, "token", "127.0.0.1", 8417), base_url=home)
    client.get("/?token=token")
    client.headers["origin"] = home
    return client


def opened(client: TestClient, name: str, base: str) -> tuple[dict[str, str], np.ndarray]:
    """What the page must name when it saves, and the classes it begins from, as in the file."""
    scan = client.get("/api/scan", params={"case": name}).json()
    stamps = {layer["id"]: layer["stamp"] for layer in scan["layers"]} | {"empty": "empty"}
    query = {"case": name, "tab": TAB, "base": base, "scan": scan["stamp"], "map": stamps[base]}
    body = client.get("/drawing", params={"case": name, "base": base}).content
    return query, np.frombuffer(body, np.uint8).reshape(scan["shape"], order="F").copy()


def save(client: TestClient, query: dict[str, str], drawn: np.ndarray) -> Any:
    body = gzip.compress(drawn.tobytes(order="F"))
    return client.post("/api/save", params=query, content=body)


def drawn_on(classes: np.ndarray) -> np.ndarray:
    """A stroke of class 2 across a corner, and a hole."""
    drawn = classes.copy()
    drawn[2:9, 3, 1] = 2
    drawn[tuple(np.argwhere(classes == 1)[0])] = 0
    return drawn


@pytest.mark.parametrize("codes", CODES)
def test_every_orientation_comes_back_with_the_drawn_voxels_alone(
    tmp_path: Path, codes: str
) -> None:
    work = make_work(tmp_path, ["a"], labelled=0, codes=codes, values=(0, 7, 300))
    before = nibabel.load(work / "predictions" / "a.nii.gz")
    round_ = Round.read(work)
    view = view_of(round_, "a")
    packed = gzip.decompress(labels.packed(round_, view, "a", "prediction"))
    classes = np.frombuffer(packed, np.uint8).reshape(view.shape, order="F")
    drawn = drawn_on(classes)
    stamp = labels.base_stamp(round_, "a", "prediction")
    flat = drawn.ravel(order="F")
    labels.save(round_, "a", base="prediction", scan_stamp=view.stamp, map_stamp=stamp, drawn=flat)
    after = nibabel.load(work / "labels" / "a.nii.gz")
    scan = nibabel.load(tmp_path / "images" / "a.nii.gz")
    expected = np.asarray(before.dataobj).copy()
    expected[drawn == 2] = 300
    expected[(drawn == 0) & (classes == 1)] = 0
    np.testing.assert_array_equal(after.dataobj, expected)
    assert np.count_nonzero(np.asarray(after.dataobj) != np.asarray(before.dataobj)) == 8
    np.testing.assert_array_equal(after.affine, scan.affine)
    assert nibabel.aff2axcodes(after.affine) == tuple(codes)
    assert after.header.get_sform(coded=True)[1] == scan.header.get_sform(coded=True)[1]


ANSWERS = {".nii": ".nii.gz", ".nii.gz": ".nii.gz", ".nrrd": ".nrrd", ".mha": ".mha", "": ".dcm"}


@pytest.mark.parametrize("ending", ANSWERS)
def test_every_format_comes_back_in_its_own_grid(tmp_path: Path, ending: str) -> None:
    work = make_work(tmp_path, ["a"], labelled=0, ending=ending, codes="LPS")
    client = page(work)
    query, classes = opened(client, "a", "prediction")
    drawn = drawn_on(classes)
    assert save(client, query, drawn).status_code == 200
    scan = read_image(tmp_path / "images" / f"a{ending}")
    (path,) = (work / "labels").iterdir()
    assert path.name == f"a{ANSWERS[ending]}"
    case = Round.read(work).case("a")
    label = label_on_scan(case, scan, read_label(path))  # a segmentation holds no empty slices
    np.testing.assert_array_equal(label.array, drawn)
    assert label.array.shape == scan.array.shape[1:]
    np.testing.assert_allclose(label.affine, scan.affine, rtol=0, atol=1e-12)
    query, found = opened(client, "a", "label")
    np.testing.assert_array_equal(found, drawn)
    assert save(client, query, np.zeros(SHAPE, np.uint8)).status_code == 200
    _, found = opened(client, "a", "label")
    assert not found.any()


def test_values_of_no_class_stay_where_nothing_was_drawn(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"])
    path = tmp_path / "labels" / "a.nii.gz"
    values = read_label(path).array
    values[5:8, 20, 10], values[0, 0, 0] = 77, -3
    write_label(path, values, affine_of("LAS"))
    client = page(work)
    query, classes = opened(client, "a", "given")
    assert classes[5, 20, 10] == 0
    classes[6, 20, 10] = 1
    assert save(client, query, classes).status_code == 200
    values[6, 20, 10] = 1
    np.testing.assert_array_equal(read_label(work / "labels" / "a.nii.gz").array, values)


def test_a_label_stored_along_other_axes_is_drawn_on_in_the_scans(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], codes="LAS")
    path = tmp_path / "labels" / "a.nii.gz"
    turned = nibabel.as_closest_canonical(nibabel.load(path))
    assert turned.shape == SHAPE
    other = turned.as_reoriented([[1, 1], [2, 1], [0, -1]])
    expected = np.asarray(nibabel.load(path).dataobj)
    nibabel.save(other, path)
    _, classes = opened(page(work), "a", "given")
    np.testing.assert_array_equal(classes, expected)


def test_a_dicom_segmentation_is_read_in_the_grid_of_its_series(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0, ending="", codes="LPS", values=(0, 7, 300))
    (work / "predictions" / "a.nii.gz").unlink()
    series = tmp_path / "images" / "a"
    scan = read_image(series)
    _, classes = phantom(0)
    if np.linalg.det(affine_of("LPS")) > 0:  # slices from the last to the first
        np.testing.assert_allclose(scan.affine, affine_of("LPS"), atol=1e-4)
    _, write, _ = best_writer(series)
    values, names = np.array([0, 7, 300])[classes], {0: "background", 7: "chamber", 300: "veins"}
    write(work / "predictions" / "a.dcm", values, scan.affine, names)
    client = page(work)
    query, found = opened(client, "a", "prediction")
    np.testing.assert_array_equal(found, classes)
    found[1, 2, 3] = 1
    assert save(client, query, found).status_code == 200
    path = work / "labels" / "a.dcm"
    assert {s.value: s.name for s in segments_of(path)} == {7: "chamber", 300: "veins"}
    assert np.count_nonzero(read_label(path).array == 7) == np.count_nonzero(found == 1)


def test_a_segmentation_keeps_values_of_no_class_and_replaces_a_nifti_label(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0, ending="", codes="LPS")
    scan = read_image(tmp_path / "images" / "a")
    values = np.zeros(SHAPE, np.int16)
    values[3:6, 3:6, 2:9], values[20, 20, 10] = 1, 77
    (work / "labels").mkdir()
    write_label(work / "labels" / "a.nii.gz", values, scan.affine)
    client = page(work)
    query, classes = opened(client, "a", "label")
    classes[10, 10, 5] = 2
    assert save(client, query, classes).status_code == 200
    (path,) = (work / "labels").iterdir()
    values[10, 10, 5] = 2
    label = label_on_scan(Round.read(work).case("a"), scan, read_label(path))
    np.testing.assert_array_equal(label.array, values)
    (former,) = (work / "review" / "former").glob("*/a.nii.gz")
    assert np.count_nonzero(read_label(former).array == 2) == 0


def test_a_series_that_no_segmentation_can_refer_to_gets_nifti(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0, ending="", codes="LPS")
    shutil.rmtree(tmp_path / "images" / "a")
    image, _ = phantom(0)
    write_series(tmp_path / "images" / "a", image, affine_of("LPS"))  # of no frame of reference
    client = page(work)
    query, classes = opened(client, "a", "prediction")
    assert save(client, query, classes).status_code == 200
    assert [path.name for path in (work / "labels").iterdir()] == ["a.nii.gz"]


def test_accepted_is_the_prediction_voxel_by_voxel(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a", "b"], labelled=0)
    client = page(work)
    query, _ = opened(client, "b", "prediction")
    assert client.post("/api/accept", params=query).status_code == 200
    made, guess = (nibabel.load(work / folder / "b.nii.gz") for folder in ("labels", "predictions"))
    np.testing.assert_array_equal(made.dataobj, guess.dataobj)
    states = {row["name"]: row["state"] for row in client.get("/api/scans").json()}
    assert states == {"a": "unlabelled", "b": "accepted"}
    query, classes = opened(client, "b", "label")
    assert save(client, query, drawn_on(classes)).status_code == 200
    assert {row["name"]: row["state"] for row in client.get("/api/scans").json()}[
        "b"
    ] == "corrected"
    (former,) = (work / "review" / "former").glob("*/b.nii.gz")
    np.testing.assert_array_equal(nibabel.load(former).dataobj, guess.dataobj)


def test_a_label_that_another_program_wrote_counts_as_corrected(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    client = page(work)
    query, _ = opened(client, "a", "prediction")
    client.post("/api/accept", params=query)
    path = work / "labels" / "a.nii.gz"
    write_label(path, np.zeros(SHAPE, np.uint8), affine_of("LAS"))
    assert client.get("/api/scans").json()[0]["state"] == "corrected"


def test_nothing_is_saved_for_a_scan_that_changed_meanwhile(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    client = page(work)
    query, classes = opened(client, "a", "prediction")
    scan = tmp_path / "images" / "a.nii.gz"
    os.utime(scan, (1, 1))
    refused = save(client, query, classes)
    assert refused.status_code == 409
    assert "has changed since this page loaded it" in refused.json()["error"]
    assert not (work / "labels").exists()


def test_nothing_is_saved_on_a_map_that_changed_meanwhile(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    client = page(work)
    query, classes = opened(client, "a", "prediction")
    write_label(work / "predictions" / "a.nii.gz", np.ones(SHAPE, np.uint8), affine_of("LAS"))
    assert save(client, query, classes).status_code == 409
    assert client.post("/api/accept", params=query).status_code == 409


def test_a_scan_that_changes_after_its_label_was_saved_is_flagged(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    client = page(work)
    query, classes = opened(client, "a", "prediction")
    save(client, query, classes)
    assert client.get("/api/scans").json()[0]["stale"] is False
    os.utime(tmp_path / "images" / "a.nii.gz", (1, 1))
    assert client.get("/api/scans").json()[0]["stale"] is True


def test_a_full_disk_is_said_and_the_former_label_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    client = page(work)
    query, classes = opened(client, "a", "prediction")
    save(client, query, classes)
    before = (work / "labels" / "a.nii.gz").read_bytes()
    query, classes = opened(client, "a", "label")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    refused = save(client, query, drawn_on(classes))
    assert refused.status_code == 507
    assert "No space left on device" in refused.json()["error"]
    monkeypatch.undo()
    assert (work / "labels" / "a.nii.gz").read_bytes() == before
    assert save(client, query, drawn_on(classes)).status_code == 200  # the page sends it again


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: gzip.compress(bytes(10)), "10 of 30720 voxels arrived"),
        (lambda: gzip.compress(bytes(30721)), "more voxels than the scan"),
        (lambda: gzip.compress(bytes(10**9))[: 10**6], "more voxels than the scan"),  # a bomb
        (lambda: gzip.compress(bytes(30720))[:-9], "voxels arrived"),
        (lambda: b"not gzip", "arrived damaged"),
        (lambda: b"", "0 of 30720 voxels arrived"),
        (
            lambda: gzip.compress(bytes([9]) + bytes(30719)),
            "a class 9 that this round does not have",
        ),
    ],
    ids=["too few", "too many", "bomb", "cut off", "not gzip", "empty", "foreign class"],
)
def test_a_drawing_that_is_none_is_refused(
    tmp_path: Path, made: Callable[[], bytes], said: str
) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    client = page(work)
    query, _ = opened(client, "a", "prediction")
    refused = client.post("/api/save", params=query, content=made())
    assert refused.status_code == 422
    assert said in refused.json()["error"]
    assert not (work / "labels").exists()


def test_a_drawing_is_taken_in_chunks_of_any_size() -> None:
    classes = np.repeat(np.random.default_rng(0).integers(0, 3, 100, np.uint8), 30_000)
    body = gzipped(memoryview(classes))
    for size in (1, 7, len(body)):
        unpacker = Unpacker(len(classes))
        for start in range(0, len(body), size):
            unpacker.take(body[start : start + size])
        np.testing.assert_array_equal(unpacker.whole(), classes)


def test_who_does_not_hold_the_scan_does_not_save(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    client = page(work)
    query, classes = opened(client, "a", "prediction")
    assert client.post("/api/hold", params={"case": "a", "tab": OTHER}).json()["held"] is None
    held = client.post("/api/hold", params={"case": "a", "tab": TAB}).json()["held"]
    assert held["tab"] == OTHER
    refused = save(client, query, classes)
    assert refused.status_code == 423
    assert "is held open by" in refused.json()["error"]
    taken = client.post("/api/hold", params={"case": "a", "tab": TAB, "take": "1"})
    assert taken.json()["held"] is None
    assert save(client, query, classes).status_code == 200


def test_a_lock_ends_with_its_page(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    client = page(work)
    hold = {"case": "a", "tab": OTHER}
    client.post("/api/hold", params=hold)
    client.post("/api/release", params={"case": "a", "tab": TAB})  # not its holder
    assert client.get("/api/scans").json()[0]["held"]["tab"] == OTHER
    client.post("/api/release", params=hold)
    assert client.get("/api/scans").json()[0]["held"] is None
    client.post("/api/hold", params=hold)
    (lock,) = (work / "review" / "locks").iterdir()
    os.utime(lock, (1, 1))  # its page was not heard of for long
    assert client.post("/api/hold", params={"case": "a", "tab": TAB}).json()["held"] is None


def test_a_scan_that_cannot_be_shown_says_why_and_the_others_can(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a", "b", "c"], labelled=0)
    cut = tmp_path / "images" / "b.nii.gz"
    cut.write_bytes(cut.read_bytes()[:3000])
    (tmp_path / "images" / "c.nii.gz").write_bytes(b"")
    client = page(work)
    answer = client.get("/api/check?case=b")
    assert answer.status_code == 422
    assert "b.nii.gz: cannot be read" in answer.json()["error"]
    assert "is empty (0 bytes)" in client.get("/api/scan?case=c").json()["error"]
    assert client.get("/api/scan?case=a").status_code == 200


def test_channels_are_shown_one_at_a_time(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0, ending=".nii")
    one = tmp_path / "images" / "a.nii"
    image, _ = phantom(0)
    both = np.stack([image, image[::-1]], axis=-1)
    nibabel.save(nibabel.Nifti1Image(both, OBLIQUE), one)
    declared = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "x": 1}}
    (tmp_path / "images" / "dataset.json").write_text(json.dumps(declared))
    client = page(work)
    assert client.get("/api/round").json()["channels"] == ["T1", "T2"]
    for channel, expected in enumerate((image, image[::-1])):
        body = client.get(f"/volume/scan.nii?case=a&channel={channel}").content
        shown = nibabel.Nifti1Image.from_bytes(body)
        np.testing.assert_array_equal(shown.dataobj, expected)
        assert shown.get_data_dtype() == np.int16


def test_a_folder_that_run_did_not_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match=r"holds no run\.json"):
        Round.read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"class_names": ["background"], "label_values": {"0": 0}},
        {"class_names": {"0": "background"}, "label_values": {"0": "none"}},
        {"class_names": {"0": "background"}, "label_values": {"0": 0, "1": 1}},
    ],
)
def test_a_manifest_without_the_classes_is_refused(tmp_path: Path, content: object) -> None:
    work = make_work(tmp_path, ["a"])
    (work / "cache" / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(SimcvdError, match=r"manifest\.json: is not a manifest.*simcvd run"):
        Round.read(work)


def test_a_label_that_slicer_saved_is_the_scan_s_own(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    round_ = Round.read(work)
    _, label = phantom(0)
    path = work / "labels" / "a.seg.nrrd"
    path.parent.mkdir(exist_ok=True)
    write_label(path, label, np.eye(4), names={0: "background", 1: "left", 2: "right"})
    assert round_.own_label("a") == path


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"], labelled=0)
    round_ = Round.read(work)
    (case,) = round_.source.cases.values()
    for name in ("../x", "x/y", "..\\x", "a\0", "/x"):
        round_.source.cases[name] = SimpleNamespace(images=case.images, label=None)  # type: ignore[assignment]
        with pytest.raises(SimcvdError, match="a scan: the name"):
            round_.own_label(name)
