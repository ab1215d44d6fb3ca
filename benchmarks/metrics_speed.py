"""Surface metrics beside MedPy's and MONAI's, on the same masks, in one run.

    python benchmarks/metrics_speed.py [LABEL.nii.gz ...]

Without arguments: 95HD of an organ of realistic shape in 512 x 512 x 200 voxels. For each label
file also: every metric at once against MedPy's dc, jc, hd95, asd and assd, where the prediction is
the label with a disturbed surface. Times are CPU seconds of this process, so that other programs
on the machine do not disturb the ratio; everything runs on one thread. About 2 minutes.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage


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


def seconds(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least CPU time of several runs, and what the last one returned."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        value = run()
        times.append(time.process_time() - start)
    return min(times), value


def compare_hd95(prediction: np.ndarray, reference: np.ndarray) -> None:
    """Print the time and value of 95HD by MedPy, MONAI and simcvd, and the ratio to MedPy."""
    import torch
    from medpy.metric import binary
    from monai.metrics import compute_hausdorff_distance

    from simcvd.metrics.surface import hd95_directed_max, hd95_pooled, surface_distances

    torch.set_num_threads(1)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, reference)]
    rows = {
        "MedPy hd95": (lambda: binary.hd95(prediction, reference), 1),
        "MONAI percentile 95": (
            lambda: float(compute_hausdorff_distance(*tensors, percentile=95)),
            1,
        ),
        "simcvd hd95_pooled": (lambda: hd95_pooled(surface_distances(prediction, reference)), 5),
        "simcvd hd95_directed_max": (
            lambda: hd95_directed_max(surface_distances(prediction, reference)),
            5,
        ),
    }
    print(f"95HD, {' x '.join(map(str, reference.shape))}, {reference.mean():.1%} foreground")
    slowest = None
    for name, (run, repeats) in rows.items():
        took, value = seconds(run, repeats)
        slowest = slowest or took
        print(
            f"  {name:25s} {took:9.3f} s  value {value:7.4f}  {slowest / took:6.1f} x", flush=True
        )


def compare_all(prediction: np.ndarray, reference: np.ndarray, name: str) -> None:
    """Print the time of every metric at once by MedPy and by simcvd, and their ratio."""
    from medpy.metric import binary

    from simcvd.engine.evaluate import score_case

    functions = (binary.dc, binary.jc, binary.hd95, binary.asd, binary.assd)
    theirs, _ = seconds(lambda: [f(prediction, reference) for f in functions], 1)
    pair = prediction.astype(np.uint8), reference.astype(np.uint8)
    ours, _ = seconds(lambda: score_case(*pair, {1: "object"}, (0.625, 0.625, 0.625)), 5)
    print(f"all metrics, {name}, {' x '.join(map(str, reference.shape))}")
    print(f"  MedPy {theirs:.3f} s  simcvd {ours:.4f} s  {theirs / ours:.1f} x", flush=True)


def main(labels: list[str]) -> None:
    """Run every comparison."""
    import nibabel as nib

    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    rng = np.random.default_rng(0)
    reference = organ(rng, (512, 512, 200))
    compare_hd95(disturbed(reference, rng), reference)
    for path in labels:
        mask = np.ascontiguousarray(np.asarray(nib.load(path).dataobj) > 0)
        compare_all(disturbed(mask, rng), mask, path.rsplit("/", 1)[-1])


if __name__ == "__main__":
    main(sys.argv[1:])
