"""Surface metrics beside MedPy's and MONAI's, on the same masks, in one run.

    python benchmarks/metrics_speed.py [LABEL.nii.gz ...]

Without arguments: 95HD of an organ of realistic shape in 512 x 512 x 200 voxels. For each label
file also: every metric at once, where the prediction is the label with a disturbed surface. About
2 minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from rows import Row, Skipped, machine, rows_table
from scipy import ndimage
from turns import in_turn, row

Masks = tuple[np.ndarray, np.ndarray]
SHAPE = (512, 512, 200)
MISSING = "{} is not installed"


def organ(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """A lumpy ellipsoid that fills about 3 % of the volume, as a liver does in a CT."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij", sparse=True)
    radii = (0.43, 0.37, 0.6)
    radius = sum((axis / r) ** 2 for axis, r in zip(axes, radii, strict=True))
    return radius + 0.5 * waves(rng, shape, 40) < 0.7


def waves(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Smooth noise whose bumps are about ``size`` voxels wide."""
    coarse = rng.standard_normal([n // size + 4 for n in shape]).astype(np.float32)
    fine = ndimage.zoom(coarse, [n / (n // size + 1) for n in shape], order=1)
    return fine[tuple(slice(n) for n in shape)]


def disturbed(mask: np.ndarray, rng: np.random.Generator, depth: float = 3.0) -> np.ndarray:
    """A prediction of ``mask``: its surface moved in and out by about ``depth`` voxels."""
    inside = ndimage.distance_transform_edt(mask)
    signed = inside - ndimage.distance_transform_edt(~mask)
    return signed + depth * waves(rng, mask.shape, 12) > 0


def hd95_rows(shape: tuple[int, int, int] = SHAPE, *, apart: bool = True) -> list[Row | Skipped]:
    """95HD of an organ by MedPy, MONAI and simcvd, each in its own convention."""
    rng = np.random.default_rng(0)
    reference = organ(rng, shape)
    masks = disturbed(reference, rng), reference
    others = {"MedPy": medpy_hd95, "MONAI": monai_hd95}
    ours = {"MedPy": our_pooled, "MONAI": our_directed}
    name = f"95HD, {' x '.join(map(str, shape))}, {reference.mean():.1%} foreground"
    return _beside(name, masks, others, ours, apart=apart)


def all_metrics_rows(
    reference: np.ndarray, name: str, *, apart: bool = True
) -> list[Row | Skipped]:
    """Dice, Jaccard, 95HD and both surface distances at once, of a label and a disturbed copy."""
    masks = disturbed(reference, np.random.default_rng(0)), reference
    shape = " x ".join(map(str, reference.shape))
    name = ", ".join(part for part in ("all metrics", name, shape) if part)
    others = {"MedPy": medpy_all, "MONAI": monai_all}
    return _beside(name, masks, others, dict.fromkeys(others, our_all), apart=apart)


def _beside(
    name: str,
    masks: Masks,
    others: dict[str, Callable[..., Any]],
    ours: dict[str, Callable[..., Any]],
    *,
    apart: bool,
) -> list[Row | Skipped]:
    """A row beside each library that is there; ours has seven turns where theirs has one."""
    rows: list[Row | Skipped] = []
    for library, theirs in others.items():
        if not find_spec(library.lower()):
            reason = MISSING.format(library)
            rows.append(Skipped(name=f"{name}, beside {library}", reason=reason))
            continue
        one = in_turn({"theirs": (theirs, (masks,))}, rounds=1, apart=apart)["theirs"]
        warm = {"ours": (ours[library], (masks,))}
        seven = in_turn(warm, rounds=7, warmup=1, apart=apart)["ours"]
        values = "" if one.value is None else f"{one.value:.4f} there, {seven.value:.4f} here"
        rows.append(row(name, library, seven, one, values))
    return rows


def medpy_hd95(masks: Masks) -> Callable[[], float]:
    """Both directions in one list."""
    from medpy.metric import binary

    return lambda: float(binary.hd95(*masks))


def medpy_all(masks: Masks) -> Callable[[], None]:
    """Five calls, as an evaluation script makes them."""
    from medpy.metric import binary

    def run() -> None:
        for metric in (binary.dc, binary.jc, binary.hd95, binary.asd, binary.assd):
            metric(*masks)

    return run


def monai_hd95(masks: Masks) -> Callable[[], float]:
    """The larger of the two directions'."""
    from monai.metrics import compute_hausdorff_distance

    tensors = _tensors(masks)
    return lambda: float(compute_hausdorff_distance(*tensors, percentile=95))


def monai_all(masks: Masks) -> Callable[[], None]:
    """The same five quantities."""
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
    )

    tensors = _tensors(masks)

    def run() -> None:
        compute_dice(*tensors)
        compute_iou(*tensors)
        compute_hausdorff_distance(*tensors, percentile=95)
        compute_average_surface_distance(*tensors)
        compute_average_surface_distance(*tensors, symmetric=True)

    return run


def _tensors(masks: Masks) -> list[Any]:
    import torch

    return [torch.from_numpy(mask)[None, None].float() for mask in masks]


def our_pooled(masks: Masks) -> Callable[[], float]:
    """MedPy's convention."""
    from simcvd.metrics.surface import hd95_pooled, surface_distances

    return lambda: float(hd95_pooled(surface_distances(*masks)))


def our_directed(masks: Masks) -> Callable[[], float]:
    """MONAI's convention."""
    from simcvd.metrics.surface import hd95_directed_max, surface_distances

    return lambda: float(hd95_directed_max(surface_distances(*masks)))


def our_all(masks: Masks) -> Callable[[], None]:
    """What `simcvd evaluate` computes of a case."""
    from simcvd.scoring.scores import score_case

    pair = [mask.astype(np.uint8) for mask in masks]

    def run() -> None:
        score_case(*pair, {1: "object"}, (0.625, 0.625, 0.625))

    return run


def main(labels: list[str]) -> None:
    """Run every comparison."""
    import nibabel as nib

    print(machine())
    rows = hd95_rows()
    for path in labels:
        mask = np.ascontiguousarray(np.asarray(nib.load(path).dataobj) > 0)
        rows += all_metrics_rows(mask, path.rsplit("/", 1)[-1])
    print("\n".join(rows_table([row for row in rows if isinstance(row, Row)])))


if __name__ == "__main__":
    main(sys.argv[1:])
