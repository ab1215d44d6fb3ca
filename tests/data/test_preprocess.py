"""The network's grid and back: exact alignment, anti-aliasing, the 48 orientations."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from nibabel import orientations
from tests.whole import to_source

from simcvd.data.preprocess import label_to_network, to_network
from simcvd.formats import spacing_of
from simcvd.preprocessing import Preprocessing
from simcvd.records import as_json, typed
from simcvd.types import SimcvdError, Volume

TILT = np.deg2rad(20)
# Oblique and anisotropic: 0.8 x 1.1 x 2.5 mm, turned by 20 degrees about the x axis.
AFFINE = np.array(
    [
        [0.8, 0, 0, -7],
        [0, 1.1 * np.cos(TILT), -2.5 * np.sin(TILT), 4],
        [0, 1.1 * np.sin(TILT), 2.5 * np.cos(TILT), 9],
        [0, 0, 0, 1],
    ]
)
SHAPE = (21, 18, 11)
ORIENTATIONS = [
    np.array([[axis, sign] for axis, sign in zip(axes, signs, strict=True)], float)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """[3, X, Y, Z] millimetres of every voxel's centre."""
    index = np.stack([*np.indices(shape), np.ones(shape)])
    return np.tensordot(affine, index, 1)[:3]


def turned(volume: Volume, turn: np.ndarray) -> Volume:
    """The same scan stored along other axes."""
    array = volume.array if volume.array.ndim == 4 else volume.array[None]
    stored = np.stack([orientations.apply_orientation(a, turn) for a in array])
    affine = volume.affine @ orientations.inv_ornt_aff(turn, array.shape[1:])
    return Volume(array=stored if volume.array.ndim == 4 else stored[0], affine=affine)


def plain(spacing: tuple[float, float, float] | None = None) -> Preprocessing:
    return Preprocessing(spacing=spacing, normalization="none")


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 2.3, 3.1), (1.6, 2.2, 5.0)])
def test_a_ramp_in_the_world_is_the_same_ramp_afterwards(
    spacing: tuple[float, float, float],
) -> None:
    # Linear interpolation and symmetric blur keep a linear function exactly, except near the
    # edge, which repeats. Half a voxel of misalignment would show as 0.25 mm or more here.
    def ramp(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        return np.tensordot([1.0, -2.0, 0.5], world(shape, affine), 1)

    shape = (42, 39, 30)
    out = to_network(Volume(array=ramp(shape, AFFINE)[None], affine=AFFINE), plain(spacing))
    assert spacing_of(out.affine) == pytest.approx(spacing)
    new = out.array.shape[1:]
    place = world(new, np.linalg.inv(AFFINE) @ out.affine)  # in voxels of the source
    size = np.array(shape)[:, None, None, None]
    inner = ((place >= 5) & (place <= size - 6)).all(axis=0)
    assert inner.sum() > 500
    assert np.abs(out.array[0] - ramp(new, out.affine))[inner].max() < 1e-4


def test_both_grids_have_one_centre() -> None:
    out = to_network(Volume(array=np.ones((1, *SHAPE)), affine=AFFINE), plain((1.7, 1.7, 1.7)))
    middle = [[*((np.array(shape) - 1) / 2), 1] for shape in (SHAPE, out.array.shape[1:])]
    assert np.allclose(AFFINE @ middle[0], out.affine @ middle[1])
    assert out.array == pytest.approx(1.0, abs=1e-6)


def test_own_spacing_changes_no_voxel() -> None:
    array = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    for p in (plain(), plain((0.8, 1.1, 2.5)), plain((0.8001, 1.1, 2.5))):
        out = to_network(Volume(array=array, affine=AFFINE), p)
        assert np.array_equal(out.array, array)
        assert np.allclose(out.affine, AFFINE, atol=1e-12)


def test_going_coarser_is_anti_aliased() -> None:
    # 1 mm to 3 mm: sigma^2 = (9 - 1) / (8 ln 2) = 1.443 voxels, so the finest stripes (period 2)
    # keep exp(-1.443 pi^2 / 2) = 0.0008 of their height; bare sampling would keep all of it.
    stripes = np.broadcast_to(np.where(np.arange(60) % 2, 1.0, -1.0)[:, None, None], (60, 9, 9))
    out = to_network(Volume(array=stripes[None], affine=np.eye(4)), plain((3.0, 1.0, 1.0)))
    assert out.array.shape == (1, 20, 9, 9)
    assert np.abs(out.array[0, 3:-3]).max() < 0.002


def test_the_blur_has_the_stated_width() -> None:
    # One bright voxel on a sampled position: the response's second moment is sigma^2 = 1.443.
    impulse = np.zeros((1, 60, 5, 5))
    impulse[0, 30] = 1
    responses = []
    for shift in range(3):
        moved = np.roll(impulse, shift, axis=1)
        out = to_network(Volume(array=moved, affine=np.eye(4)), plain((3.0, 1.0, 1.0)))
        responses.append(
            (out.array[0, :, 2, 2], world(out.array.shape[1:], out.affine)[0, :, 2, 2])
        )
    moment = sum((v * (x - 30 - s) ** 2).sum() for s, (v, x) in enumerate(responses))
    total = sum(v.sum() for v, _ in responses)
    assert total == pytest.approx(1, abs=1e-3)
    assert moment / total == pytest.approx(8 / (8 * np.log(2)), rel=0.02)


@pytest.mark.parametrize("spacing", [None, (1.3, 1.3, 2.0)])
def test_all_48_orientations_give_the_same_bits(
    spacing: tuple[float, float, float] | None,
) -> None:
    p = Preprocessing(spacing=spacing)
    array = np.random.default_rng(1).normal(3, 5, (1, *SHAPE)).astype(np.float32)
    scan = Volume(array=array, affine=AFFINE)
    expected = to_network(scan, p)
    scores = np.random.default_rng(2).random((3, *expected.array.shape[1:]))
    answer = to_source(scores, expected.affine, SHAPE, AFFINE)
    assert len(ORIENTATIONS) == 48
    for turn in ORIENTATIONS:
        stored = turned(scan, turn)
        out = to_network(stored, p)
        assert np.array_equal(out.array, expected.array)
        assert np.allclose(out.affine, expected.affine, atol=1e-9)
        mask = to_source(scores, out.affine, stored.array.shape[1:], stored.affine)
        assert np.array_equal(mask, turned(Volume(array=answer, affine=AFFINE), turn).array)


def test_labels_there_and_back() -> None:
    place = world(SHAPE, AFFINE)
    centre = place.reshape(3, -1).mean(axis=1)
    radius = np.linalg.norm(place - centre[:, None, None, None], axis=0)
    values = np.where(radius < 4, 9, np.where(radius < 7, 4, 0)).astype(np.int32)
    for turn in ORIENTATIONS[::7]:
        stored = turned(Volume(array=values, affine=AFFINE), turn)
        small = label_to_network(stored, plain((1.0, 1.0, 1.0)))
        assert set(np.unique(small.array)) == {0, 4, 9}
        shares = np.stack([small.array == v for v in (0, 4, 9)]).astype(np.float32)
        back = to_source(shares, small.affine, stored.array.shape, stored.affine)
        assert back.dtype == np.uint8
        assert (np.array([0, 4, 9])[back] == stored.array).mean() > 0.97


def test_probabilities_are_carried_back_linearly_before_the_argmax() -> None:
    # Between network voxels at 0 and 1 mm, class 1 rises from 0.2 to 1.0 and passes class 0 at
    # 0.375 mm; at 0.25 mm spacing the source voxels 0, .25 | .5, .75, 1 fall on either side.
    one = np.broadcast_to(np.array([0.2, 1.0])[:, None, None], (2, 2, 2))
    affine, source = np.eye(4), np.diag([0.25, 1, 1, 1])
    labels = to_source(np.stack([1 - one, one]), affine, (5, 2, 2), source)
    assert labels[:, 0, 0].tolist() == [0, 0, 1, 1, 1]


def test_zscore_is_over_the_whole_scan_channel_by_channel() -> None:
    array = np.random.default_rng(3).normal(size=(2, *SHAPE)) * [[[[5]]], [[[50]]]] + 7
    out = to_network(Volume(array=array, affine=AFFINE), Preprocessing()).array
    assert out.mean(axis=(1, 2, 3)) == pytest.approx([0, 0], abs=1e-6)
    assert out.std(axis=(1, 2, 3)) == pytest.approx([1, 1], abs=1e-6)
    constant = to_network(Volume(array=np.full((1, *SHAPE), 4.0), affine=AFFINE), Preprocessing())
    assert not constant.array.any()


def test_ct_clips_to_the_window_first() -> None:
    array = np.linspace(-2000, 2000, 21 * 18 * 11).reshape(1, *SHAPE)
    out = to_network(
        Volume(array=array, affine=AFFINE), Preprocessing(normalization="ct", window=(-125, 275))
    ).array
    clipped = array.clip(-125, 275)
    assert np.allclose(out, (clipped - clipped.mean()) / clipped.std(), atol=1e-5)


@pytest.mark.parametrize("stored", ["as is", "turned"])
@pytest.mark.parametrize(
    ("p", "most"),
    [
        (Preprocessing(), 1.0),  # the result
        (Preprocessing(normalization="ct", window=(-125, 275)), 1.0),
        (Preprocessing(spacing=(1.25, 1.25, 1.25)), 1 + 0.8 + 0.8**3),  # own, first axis, result
    ],
    ids=["zscore", "ct", "coarser"],
)
def test_memory_is_that_of_the_result_and_at_most_two_maps(
    p: Preprocessing, most: float, stored: str
) -> None:
    """Peak of what is allocated, in units of the scan, planes and imports within 0.15 of it."""
    array = np.random.default_rng(0).normal(0, 100, (1, 100, 90, 80)).astype(np.float32)
    volume = Volume(array=array, affine=np.eye(4))
    if stored == "turned":
        volume = turned(volume, ORIENTATIONS[29])
    to_network(volume, p)  # loads what it needs
    tracemalloc.start()
    to_network(volume, p)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / array.nbytes < most + 0.15


def test_settings_survive_json_and_wrong_ones_are_refused() -> None:
    p = Preprocessing(spacing=(1.0, 1.0, 2.0), normalization="ct", window=(-1.0, 1.0))
    assert typed(Preprocessing, as_json(p)) == p
    with pytest.raises(SimcvdError, match="'zscoer' is none of: none, zscore, ct"):
        Preprocessing(normalization="zscoer")  # type: ignore[arg-type]
    with pytest.raises(SimcvdError, match="three positive numbers"):
        Preprocessing(spacing=(1.0, 0.0, 1.0))
    with pytest.raises(SimcvdError, match="window"):
        Preprocessing(normalization="ct")
    with pytest.raises(SimcvdError, match="below the high one"):
        Preprocessing(normalization="ct", window=(3.0, 1.0))
    # What a model's description may not say is refused here, before there is a model.
    for window in ((-math.inf, 1.0), (1.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(SimcvdError, match="two finite numbers"):
            Preprocessing(normalization="ct", window=window)
    for spacing in (1e-4, 2e3, math.nan):
        with pytest.raises(SimcvdError, match=r"in mm, at least 0\.001 and at most 1000, not"):
            Preprocessing(spacing=(1.0, spacing, 1.0))


def test_grids_that_share_no_axes_are_refused() -> None:
    oblique = np.eye(4)
    oblique[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    with pytest.raises(SimcvdError, match="do not share their axes"):
        to_source(np.ones((2, 4, 4, 4)), np.eye(4), (4, 4, 4), oblique)
