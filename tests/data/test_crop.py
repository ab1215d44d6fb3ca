"""Crops in preparation: which voxels are kept, that they stay in their place, and the way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nibabel import orientations
from tests.data.conftest import AFFINE, SHAPE, ball, noise, save
from tests.inference.tools import ALL_48, OBLIQUE, blob, reoriented, threshold_model, turned

from simcvd.data.cache import Cache
from simcvd.data.crop import crop_box, cropped, grid_of_box, stored_like
from simcvd.data.prepare import prepare
from simcvd.inference.scan import predict_scan
from simcvd.preprocessing import Margin, Preprocessing
from simcvd.records import as_json
from simcvd.types import SimcvdError, Volume


def nonzero(margin: Margin = (0, 0, 0), **more: object) -> Preprocessing:
    return Preprocessing(crop="nonzero", margin=margin, normalization="none", **more)  # type: ignore[arg-type]


def padded(background: float = 0.0) -> Volume:
    """A blob of noise at [4:22, 2:17, 3:15] of a scan that is `background` elsewhere."""
    array = np.full((1, 25, 20, 16), background, np.float32)
    array[:, 4:22, 2:17, 3:15] = blob()
    return Volume(array=array, affine=OBLIQUE)


def ends(box: tuple[slice, ...]) -> list[tuple[int, int]]:
    return [(side.start, side.stop) for side in box]


@pytest.mark.parametrize("background", [0.0, -1024.0, 7.5])
def test_the_box_is_that_of_what_is_not_background(background: float) -> None:
    scan = padded(background)
    assert ends(crop_box(scan, nonzero())) == [(4, 22), (2, 17), (3, 15)]
    assert ends(crop_box(scan, nonzero((1, 5, None)))) == [(3, 23), (0, 20), (0, 16)]
    assert ends(crop_box(scan, Preprocessing())) == [(0, 25), (0, 20), (0, 16)]


def test_a_voxel_of_any_channel_counts() -> None:
    array = np.zeros((2, 9, 9, 9))
    array[0, 3, 4, 5] = 1
    array[1, 5, 4, 2] = -1
    box = crop_box(Volume(array=array, affine=np.eye(4)), nonzero())
    assert ends(box) == [(3, 6), (4, 5), (2, 6)]


def test_a_scan_without_background_or_with_nothing_else_is_kept_whole() -> None:
    values = np.random.default_rng(0).normal(size=(1, 6, 5, 4))
    for array in (values, np.full((1, 6, 5, 4), 3.0)):
        box = crop_box(Volume(array=array, affine=np.eye(4)), nonzero())
        assert ends(box) == [(0, 6), (0, 5), (0, 4)]


def test_margins_are_voxels_of_the_prepared_grid_rounded_up() -> None:
    # 2 voxels of 1 mm are 2 / 0.9 = 2.2, 2 / 1.1 = 1.8 and 2 / 2.5 = 0.8 of the scan's own.
    box = crop_box(padded(), nonzero((2, 2, 2), spacing=(1.0, 1.0, 1.0)))
    assert ends(box) == [(1, 25), (0, 19), (2, 16)]


@pytest.mark.parametrize("turn", ALL_48[1::5], ids=str)
def test_the_box_and_its_margins_turn_with_the_scan(turn: np.ndarray) -> None:
    p, scan = nonzero((1, 0, 2)), padded()
    stored = reoriented(scan, turn)
    expected = reoriented(cropped(scan, crop_box(scan, p)), turn)
    found = cropped(stored, crop_box(stored, p))
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-9)


def test_a_cropped_voxel_keeps_its_place_in_the_world_and_is_pasted_back() -> None:
    scan = padded()
    box = crop_box(scan, nonzero())
    part = cropped(scan, box)
    shape, affine = grid_of_box(box, scan.affine)
    assert (shape, part.array.shape[1:]) == ((18, 15, 12), (18, 15, 12))
    np.testing.assert_array_equal(affine, part.affine)
    np.testing.assert_allclose(affine @ [1, 2, 3, 1], scan.affine @ [5, 4, 6, 1], atol=1e-12)
    back = np.zeros((25, 20, 16))
    back[box] = part.array[0]
    np.testing.assert_array_equal(back, scan.array[0])


def test_a_label_is_cropped_with_its_scan_whatever_the_order_of_its_axes() -> None:
    label = Volume(array=np.arange(24).reshape(2, 3, 4), affine=OBLIQUE)
    image = Volume(array=np.zeros((1, 2, 3, 4)), affine=OBLIQUE)
    for turn in ALL_48[::7]:
        other = orientations.apply_orientation(label.array, turn)
        affine = label.affine @ orientations.inv_ornt_aff(turn, label.array.shape)
        same = stored_like(Volume(array=other, affine=affine), image)
        np.testing.assert_array_equal(same.array, label.array)


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0)], ids=["own grid", "resampled"])
@pytest.mark.parametrize("turn", [ALL_48[0], ALL_48[29]], ids=["as is", "turned"])
def test_a_prediction_fills_the_whole_scan_with_background_outside_the_crop(
    spacing: tuple[float, float, float] | None, turn: np.ndarray
) -> None:
    inner = Volume(array=blob(), affine=OBLIQUE)
    expected = predict_scan(threshold_model(spacing=spacing), inner)
    whole = np.zeros((25, 20, 16), expected.dtype)
    whole[4:22, 2:17, 3:15] = expected
    model = threshold_model(spacing=spacing, crop="nonzero")
    found = predict_scan(model, reoriented(padded(), turn))
    np.testing.assert_array_equal(found, turned(whole, turn))
    # Where the air is as bright as the object, only the crop keeps it out of the result.
    bright = predict_scan(model, reoriented(padded(5.0), turn))
    np.testing.assert_array_equal(bright, turned(whole, turn))


def test_a_model_of_scans_cropped_by_their_label_takes_a_new_scan_whole() -> None:
    scan = padded()
    found = predict_scan(threshold_model(crop="label", margin=(2, 2, None)), scan)
    np.testing.assert_array_equal(found, predict_scan(threshold_model(), scan))


def test_prepared_by_label_with_the_box_on_record(folders: Path, tmp_path: Path) -> None:
    for name in "bd":
        save(folders / "labels" / f"{name}.nii.gz", ball(radius=2.5))
    cache = prepare(
        folders, tmp_path / "cache", crop="label", margin=(1, 0, None), jobs=1, quiet=True
    )
    case = cache.case("a")  # a ball of radius 3: [3:9, 2:8, 1:7] of 12 x 10 x 8
    assert case.info.box == ((2, 10), (2, 8), (0, 8))
    np.testing.assert_array_equal(case.label, ball()[2:10, 2:8])
    affine = AFFINE.copy()
    affine[:3, 3] = [2, 2, 0]
    np.testing.assert_allclose(case.info.affine, affine)
    assert case.info.source_shape == SHAPE
    part = noise(0)[2:10, 2:8].astype(float)  # statistics are those of the crop
    wanted = (part - part.mean()) / part.std()
    np.testing.assert_allclose(case.image[0], wanted, atol=2e-3)
    assert Cache(cache.root).manifest.preprocessing.crop == "label"


def test_another_margin_is_another_data_set_and_no_crop_is_what_it_was(
    folders: Path, tmp_path: Path
) -> None:
    def data_hash(**settings: object) -> str:
        out = tmp_path / "cache"
        return prepare(folders, out, jobs=1, quiet=True, **settings).manifest.data_hash  # type: ignore[arg-type]

    plain = data_hash()
    one, two = data_hash(crop="nonzero"), data_hash(crop="nonzero", margin=(1, 1, 1))
    assert len({plain, one, two}) == 3
    assert "crop" not in as_json(Preprocessing())
    assert data_hash(crop="none") == plain


def test_crops_that_cannot_be_made_are_refused(folders: Path, tmp_path: Path) -> None:
    save(folders / "labels" / "d.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(SimcvdError) as caught:
        prepare(folders, tmp_path / "cache", crop="label", jobs=1, quiet=True)
    assert "b.nii.gz: has no label to be cropped by" in str(caught.value)
    assert "d.nii.gz: holds background only" in str(caught.value)
    with pytest.raises(SimcvdError, match="'lable' is none of: none, nonzero, label"):
        Preprocessing(crop="lable")  # type: ignore[arg-type]
    with pytest.raises(SimcvdError, match="goes with a crop"):
        Preprocessing(margin=(1, 1, 1))
    with pytest.raises(SimcvdError, match="0 or more"):
        Preprocessing(crop="nonzero", margin=(1, -1, 1))
