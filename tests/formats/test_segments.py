"""Label files that name their classes: names and codes kept, classes told by name."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from tests.data.conftest import ball, noise, save
from tests.data.dicom_series import write_series
from tests.formats.made import itk_image

from simcvd.checking.check import check
from simcvd.data.prepare import prepare
from simcvd.data.reading import label_on_scan
from simcvd.formats import by_name, read_image, read_label, revalued, segments_of, write_label
from simcvd.formats.dicom_seg_write import writer
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import SourceCase
from simcvd.types import Segment, SimcvdError, Volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
SERIES = np.diag([-1.0, -1.0, 2.0, 1.0])
TAGS = "Segmentation category and type - x~SCT^123037004^Anatomy~SCT^82471001^Left atrium~^^~"


def seg_nrrd(
    path: Path, label: np.ndarray, names: dict[str, tuple[int, int]], layers: bool = False
) -> Path:
    """As Slicer writes it; names: {name: (value, layer)}, label ``[X, Y, Z]`` or a list of them."""
    parts = [itk_image(part, AFFINE) for part in (label if layers else [label])]
    image = SimpleITK.Compose(*parts) if layers else parts[0]
    for number, (name, (value, layer)) in enumerate(names.items()):
        fields = {"ID": f"Segment_{number}", "Name": name, "LabelValue": value, "Layer": layer}
        fields["Tags"] = f"Status:inprogress|TerminologyEntry:{TAGS}|"
        for key, text in fields.items():
            image.SetMetaData(f"Segment{number}_{key}", str(text))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path), useCompression=True)
    return path


def halves(left: int, right: int) -> np.ndarray:
    """A ball whose voxels below x = 6 are ``left`` and the others ``right``."""
    sides = np.where(np.arange(12) < 6, left, right)[:, None, None]
    return np.where(ball(), sides, 0).astype(np.uint8)


def test_slicers_names_and_codes(tmp_path: Path) -> None:
    path = seg_nrrd(tmp_path / "a.seg.nrrd", halves(3, 1), {"left": (3, 0), "right": (1, 0)})
    segments = (
        Segment(value=3, name="left", code="SCT 82471001"),
        Segment(value=1, name="right", code="SCT 82471001"),
    )
    assert segments_of(path) == segments
    label = read_label(path)
    np.testing.assert_array_equal(label.array, halves(3, 1))
    assert label.segments == segments
    assert label.partial


def test_layers_become_one_map_unless_they_overlap(tmp_path: Path) -> None:
    left, right = halves(1, 0), halves(0, 1)
    names = {"left": (1, 0), "right": (1, 1)}  # both are value 1, each in its own layer
    path = seg_nrrd(tmp_path / "a.seg.nrrd", np.stack([left, right]), names, layers=True)
    label = read_label(path)
    assert [(s.value, s.name) for s in label.segments] == [(1, "left"), (2, "right")]
    np.testing.assert_array_equal(label.array, halves(1, 2))
    assert segments_of(path) == label.segments
    right[5, 4, 3] = left[5, 4, 3] = 1
    path = seg_nrrd(tmp_path / "b.seg.nrrd", np.stack([left, right]), names, layers=True)
    with pytest.raises(SimcvdError, match="'left' and 'right' overlap in 1 voxels"):
        read_label(path)


def test_layers_without_names_are_no_label_map(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    SimpleITK.WriteImage(SimpleITK.Compose(*[itk_image(ball(), AFFINE)] * 3), str(path))
    with pytest.raises(SimcvdError, match="holds 3 layers or channels"):
        read_label(path)


def test_one_name_is_one_class_whatever_its_value(tmp_path: Path) -> None:
    for seed, name in enumerate(("p0", "p1", "p2")):
        save(tmp_path / "images" / f"{name}.nii.gz", noise(seed))
    swapped = {"p0": {"left": (1, 0), "right": (2, 0)}, "p1": {"Left ": (2, 0), "right": (1, 0)}}
    for name, names in swapped.items():
        values = [value for value, _ in names.values()]
        seg_nrrd(tmp_path / "labels" / f"{name}.seg.nrrd", halves(*values), names)
    assert recognise(tmp_path).labels == {0: "background", 1: "left", 2: "right"}
    assert check(tmp_path, jobs=1, quiet=True).errors == 0
    cache = prepare(tmp_path, tmp_path / "cache", jobs=1, quiet=True)
    assert cache.manifest.class_names == {0: "background", 1: "left", 2: "right"}
    for name in swapped:
        np.testing.assert_array_equal(cache.case(name).label, halves(1, 2))


def test_names_that_all_files_number_alike_keep_their_values() -> None:
    one = (Segment(value=7, name="b"), Segment(value=3, name="a"))
    classes, pairs = by_name({Path("x"): one, Path("y"): one[:1], Path("z"): ()})
    assert classes == {0: "background", 7: "b", 3: "a"}
    assert pairs == {Path("x"): ((7, 7), (3, 3)), Path("y"): ((7, 7),)}


def test_declared_classes_say_the_values() -> None:
    declared = {0: "background", 5: "Liver", 6: "spleen"}
    classes, pairs = by_name({Path("x"): (Segment(value=1, name="liver"),)}, declared)
    assert classes == declared
    assert pairs == {Path("x"): ((1, 5),)}


def test_names_that_do_not_fit_are_said() -> None:
    left, right = Segment(value=1, name="left"), Segment(value=2, name="right")
    other = (Segment(value=2, name="left"), Segment(value=1, name="right"))
    with pytest.raises(SimcvdError, match=r"z: does not name its classes, while other labels do"):
        by_name({Path("x"): (left, right), Path("y"): other, Path("z"): ()})
    with pytest.raises(SimcvdError, match="several segments called 'left'"):
        by_name({Path("x"): (left, Segment(value=2, name="LEFT"))})
    with pytest.raises(SimcvdError, match="segment 'right', which is none of the classes"):
        by_name({Path("x"): (left, right)}, {0: "background", 1: "left"})
    volume = Volume(array=halves(1, 9), affine=AFFINE, segments=(left, right))
    with pytest.raises(SimcvdError, match="voxels of value 9, which it does not name"):
        revalued(Path("x"), volume, ((1, 1), (2, 2)))


def test_written_nrrd_has_the_colours_of_the_report(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    write_label(path, halves(4, 9), AFFINE, names={0: "background", 4: "left", 9: "right"})
    said = SimpleITK.ReadImage(path)
    # Okabe and Ito's orange e6 9f 00 and sky blue 56 b4 e9, divided by 255.
    assert said.GetMetaData("Segment0_Color") == "0.902 0.6235 0"
    assert said.GetMetaData("Segment1_Color") == "0.3373 0.7059 0.9137"


def test_slicer_gets_whole_segments_at_their_place(tmp_path: Path) -> None:
    """Read as Slicer reads it, by NRRD's definition: lines of text, then gzip, x fastest, LPS."""
    affine = np.array([[0, 0, 3, -7], [-0.8, 0.6, 0, 5], [0.6, 0.8, 0, 11], [0, 0, 0, 1.0]])
    label = np.array([0, 4, 300], np.int16)[halves(1, 2)]
    names = {0: "background", 4: "left\natrium", 300: "aorta"}
    path = tmp_path / "a.seg.nrrd"
    write_label(path, label, affine, names=names)

    head, _, data = path.read_bytes().partition(b"\n\n")
    lines = head.decode("ascii").split("\n")
    assert lines[0].startswith("NRRD")
    fields = dict(re.split(": |:=", line, maxsplit=1) for line in lines[1:])
    assert len(fields) == len(lines) - 1
    about = ("ID", "Name", "LabelValue", "Layer", "Extent")
    first, second = ([fields[f"Segment{number}_{key}"] for key in about] for number in (0, 1))
    assert first == ["Segment_0", "left atrium", "4", "0", "0 11 0 9 0 7"]
    assert second == ["Segment_1", "aorta", "300", "0", "0 11 0 9 0 7"]
    assert fields["type"] == "int16"
    assert fields["endian"] == "little"
    stored = np.frombuffer(gzip.decompress(data), "<i2").reshape((8, 10, 12))
    np.testing.assert_array_equal(stored.T, label)
    vectors = fields["space directions"] + fields["space origin"]
    steps = [[float(part) for part in v.split(",")] for v in re.findall(r"\((.*?)\)", vectors)]
    assert fields["space"] == "left-posterior-superior"
    np.testing.assert_allclose(np.array(steps).T * [[-1], [-1], [1]], affine[:3], atol=1e-12)


def test_written_nrrd_keeps_names(tmp_path: Path) -> None:
    names = {0: "background", 4: "left atrium", 9: "aorta"}
    write_label(tmp_path / "a.nrrd", halves(4, 9), AFFINE, names=names)
    found = segments_of(tmp_path / "a.nrrd")
    assert [(s.value, s.name) for s in found] == [(4, "left atrium"), (9, "aorta")]


def segmentation(folder: Path, label: np.ndarray, names: dict[int, str]) -> Path:
    """A DICOM segmentation of a series, as simcvd writes it through highdicom."""
    write_series(folder / "ct", noise(0), SERIES, t0020x0052="1.2.3.9")
    affine = read_image(folder / "ct").affine
    writer(folder / "ct")(folder / "seg.dcm", label, affine, names)
    return folder / "seg.dcm"


def test_a_dicom_segmentation_is_a_label_with_names_values_and_codes(tmp_path: Path) -> None:
    label = np.zeros((12, 10, 8), np.int32)
    label[2:5, 3:6, 2:4], label[7:9, 3:6, 5] = 420, 600
    names = {0: "background", 420: "left atrium", 600: "blob"}
    path = segmentation(tmp_path, label, names)
    assert segments_of(path) == (
        Segment(value=420, name="left atrium", code="SCT 82471001"),
        Segment(value=600, name="blob", code="SCT 91723000"),
    )
    found = read_label(path)
    assert found.array.shape == (12, 10, 4)  # slices 2 to 5: empty ones are not stored
    scan = read_image(tmp_path / "ct")
    case = SourceCase(name="a", images=(tmp_path / "ct",), label=path)
    np.testing.assert_array_equal(label_on_scan(case, scan, found).array, label)


def test_a_dicom_segmentation_is_no_scan_and_others_number_their_segments(tmp_path: Path) -> None:
    label = halves(1, 2)
    path = segmentation(tmp_path, label, {0: "background", 1: "a", 2: "b"})
    with pytest.raises(SimcvdError, match="is a DICOM segmentation, not a scan"):
        read_image(path)
    data = pydicom.dcmread(path)
    for segment in data.SegmentSequence:
        del segment.SegmentDescription
        segment.SegmentLabel = segment.SegmentLabel.upper()
    data.save_as(path)
    assert [(s.value, s.name) for s in segments_of(path)] == [(1, "A"), (2, "B")]


def test_overlapping_and_truncated_segmentations_are_refused(tmp_path: Path) -> None:
    path = segmentation(tmp_path, halves(1, 2), {0: "background", 1: "a", 2: "b"})
    whole = path.read_bytes()
    data = pydicom.dcmread(path)
    data.PixelData = b"\xff" * len(data.PixelData)
    data.save_as(path)
    with pytest.raises(SimcvdError, match="segments 'a' and 'b' overlap"):
        read_label(path)
    for share in (0.3, 0.9, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(SimcvdError, match=r"seg\.dcm"):
            read_label(path)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_a_partial_label_is_placed_where_it_lies(flips: tuple[int, int, int]) -> None:
    """A box of the scan's voxels from (2, 3, 1), stored along other axes and directions."""
    image = Volume(array=np.zeros((1, 9, 8, 7)), affine=AFFINE)
    part = np.random.default_rng(0).integers(0, 3, (4, 3, 5)).astype(np.int32)
    whole = np.zeros((9, 8, 7), np.int32)
    whole[2:6, 3:6, 1:6] = part
    turn = np.eye(4)[[2, 0, 1, 3]].T @ np.diag([*flips, 1.0])  # axes z, x, y of the scan
    stored = part.transpose(2, 0, 1)[tuple(slice(None, None, s) for s in flips)]
    first = np.array([0 if s > 0 else n - 1 for s, n in zip(flips, stored.shape, strict=True)])
    affine = AFFINE @ turn
    corner = np.array([2, 3, 1]) + turn[:3, :3] @ -first * 1.0
    affine[:3, 3] = (AFFINE @ [*corner, 1])[:3]
    label = Volume(array=stored, affine=affine, partial=True)
    case = SourceCase(name="a", images=(Path("a"),), label=Path("b"))
    np.testing.assert_array_equal(label_on_scan(case, image, label).array, whole)
    half = affine.copy()
    half[0, 3] += 0.5
    with pytest.raises(SimcvdError, match="the label's grid is not that of its scan"):
        label_on_scan(case, image, Volume(array=stored, affine=half, partial=True))
