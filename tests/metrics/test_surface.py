"""Surface distances: worked numbers, a loop over the definition, MedPy and MONAI."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import ndimage

from simcvd.metrics.surface import (
    asd_prediction_to_reference,
    assd,
    find_surfaces,
    hd95_directed_max,
    hd95_pooled,
    surface_distances,
)
from simcvd.types import SimcvdError, Triple

SPACINGS: list[Triple] = [(1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (2.5, 0.4, 1.1)]


def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Noise, sparse noise, lumps, and lumps that touch the edge of the array."""
    rng = np.random.default_rng(11)
    for shape in [(14, 11, 9), (7, 16, 12)]:
        yield tuple(rng.random((2, *shape)) < 0.4)
        yield tuple(rng.random((2, *shape)) < 0.02)
        lumps = ndimage.gaussian_filter(rng.standard_normal((2, *shape)), (0, 2, 2, 2))
        yield tuple(lumps > 0.02)
        yield tuple(lumps > -0.05)


def cube(start: int, stop: int, size: int = 24) -> np.ndarray:
    mask = np.zeros((size, size, size), bool)
    mask[start:stop, start:stop, start:stop] = True
    return mask


def test_surface_of_a_cube() -> None:
    # 5^3 voxels, of which the inner 3^3 have all 6 neighbours: 125 - 27 = 98.
    surfaces = find_surfaces(cube(2, 7), cube(0, 24))
    assert len(surfaces.prediction) == 98
    # The whole array: its edge counts as outside, 24^3 - 22^3.
    assert len(surfaces.reference) == 24**3 - 22**3
    assert surfaces.prediction.min() == 2
    assert surfaces.prediction.max() == 6


def test_two_voxels_worked() -> None:
    prediction, reference = np.zeros((2, 9, 9, 9), bool)
    prediction[1, 2, 3] = prediction[1, 2, 4] = True
    reference[4, 2, 3] = True
    # To the reference: 3 and sqrt(9 + 1) voxels; to the prediction: 3.
    near, far = 3.0, 10**0.5
    record = surface_distances(prediction, reference)
    np.testing.assert_allclose(np.sort(record.to_reference), [near, far])
    np.testing.assert_allclose(record.to_prediction, [near])
    assert asd_prediction_to_reference(record) == pytest.approx((near + far) / 2)
    assert assd(record) == pytest.approx((2 * near + far) / 3)
    assert hd95_directed_max(record) == pytest.approx(near + 0.95 * (far - near))
    assert hd95_pooled(record) == pytest.approx(near + 0.9 * (far - near))
    # 2 mm along x, 0.5 mm along z: 6 and sqrt(36 + 0.25) mm.
    mm = surface_distances(prediction, reference, (2.0, 1.0, 0.5))
    np.testing.assert_allclose(np.sort(mm.to_reference), [6, 36.25**0.5])


def test_one_stray_island_parts_the_conventions() -> None:
    # Both cubes have 98 surface voxels and coincide; the prediction adds 6 voxels in a row, in a
    # corner far away. Pooled, they are 6 of 202 distances (3 %) and 95HD does not see them; of
    # the 104 from the prediction they are 5.8 %, and the larger direction's 95HD does.
    reference = cube(2, 7)
    prediction = reference.copy()
    prediction[23, 23, 18:24] = True
    record = surface_distances(prediction, reference)
    far = [(17**2 + 17**2 + (z - 6) ** 2) ** 0.5 for z in range(18, 24)]
    assert hd95_pooled(record) == 0
    # 104 sorted values, rank 0.95 * 103 = 97.85: between the last 0 and the nearest stray voxel.
    assert hd95_directed_max(record) == pytest.approx(0.85 * far[0])
    assert asd_prediction_to_reference(record) == pytest.approx(sum(far) / 104)
    assert assd(record) == pytest.approx(sum(far) / 202)
    # The other way round nothing is stray: ASD from prediction to reference is blind to a miss.
    assert asd_prediction_to_reference(surface_distances(reference, prediction)) == 0


@pytest.mark.parametrize("spacing", SPACINGS)
def test_equal_to_a_loop_over_the_definition(spacing: Triple) -> None:
    for prediction, reference in pairs():
        record = surface_distances(prediction, reference, spacing)
        p, r = (np.argwhere(by_loop(mask)) * spacing for mask in (prediction, reference))
        table = np.sqrt(((p[:, None] - r[None]) ** 2).sum(-1))
        np.testing.assert_allclose(np.sort(record.to_reference), np.sort(table.min(1)))
        np.testing.assert_allclose(np.sort(record.to_prediction), np.sort(table.min(0)))


def by_loop(mask: np.ndarray) -> np.ndarray:
    """Surface voxels, voxel by voxel."""
    padded, surface = np.pad(mask, 1), np.zeros(mask.shape, bool)
    for x, y, z in np.argwhere(mask) + 1:
        six = [padded[x - 1, y, z], padded[x + 1, y, z], padded[x, y - 1, z]]
        six += [padded[x, y + 1, z], padded[x, y, z - 1], padded[x, y, z + 1]]
        surface[x - 1, y - 1, z - 1] = not all(six)
    return surface


@pytest.mark.parametrize("spacing", SPACINGS)
def test_equal_to_medpy(spacing: Triple) -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    for p, r in pairs():
        record = surface_distances(p, r, spacing)
        assert hd95_pooled(record) == pytest.approx(binary.hd95(p, r, spacing), abs=1e-9)
        assert asd_prediction_to_reference(record) == pytest.approx(binary.asd(p, r, spacing))
        assert assd(record) == pytest.approx(binary.assd(p, r, spacing))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_equal_to_monai(spacing: Triple) -> None:
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    for p, r in pairs():
        record = surface_distances(p, r, spacing)
        masks = [torch.from_numpy(mask)[None, None].float() for mask in (p, r)]
        hausdorff = monai.compute_hausdorff_distance(*masks, percentile=95, spacing=spacing)
        # MONAI's directed default runs from prediction to reference, as ASD does here.
        one_way = monai.compute_average_surface_distance(*masks, spacing=spacing)
        symmetric = monai.compute_average_surface_distance(*masks, symmetric=True, spacing=spacing)
        assert hd95_directed_max(record) == pytest.approx(float(hausdorff), rel=1e-5)
        assert asd_prediction_to_reference(record) == pytest.approx(float(one_way), rel=1e-5)
        assert assd(record) == pytest.approx(float(symmetric), rel=1e-5)


def test_memory_order_does_not_matter() -> None:
    p, r = next(pairs())
    turned = surface_distances(np.asfortranarray(p), np.asfortranarray(r))
    assert assd(turned) == pytest.approx(assd(surface_distances(p, r)))


def test_empty_or_unequal_masks_are_refused() -> None:
    empty, full = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    with pytest.raises(SimcvdError, match="prediction is empty"):
        surface_distances(empty, full)
    with pytest.raises(SimcvdError, match="reference is empty"):
        surface_distances(full, empty)
    with pytest.raises(SimcvdError, match=r"\(4, 4, 4\).*\(4, 4, 3\)"):
        surface_distances(full, full[..., :3])
