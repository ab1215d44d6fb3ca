"""Windows at exact strides, averaged as a plain loop would, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.inference.tools import Threshold, small_vnet
from tests.whole import predict_probabilities
from torch import Tensor, nn

from simcvd.inference.sliding_window import Windows, predict_labels, sums_needed
from simcvd.inference.windows import Grid, axis_starts
from simcvd.types import IntTriple, Prediction, SimcvdError

LA = Path(__file__).resolve().parents[3] / "shared" / "data" / "la2018"
LA_PATCH, LA_STRIDE = (112, 112, 80), (18, 18, 4)
CASES: list[tuple[IntTriple, IntTriple, IntTriple]] = [
    ((20, 17, 23), (8, 10, 12), (3, 5, 7)),  # the last window stands closer on every axis
    ((8, 10, 12), (8, 10, 12), (3, 5, 7)),  # one window
    ((9, 11, 13), (8, 8, 8), (4, 4, 4)),  # last step of one voxel
    ((32, 16, 24), (8, 8, 8), (8, 8, 8)),  # no overlap
    ((17, 9, 40), (8, 8, 8), (1, 2, 5)),
    ((5, 20, 3), (8, 8, 8), (4, 4, 4)),  # smaller than the patch on two axes
]


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def one_at_a_time(
    network: nn.Module, image: Tensor, patch: IntTriple, stride: IntTriple, tapered: bool
) -> np.ndarray:
    """Mean softmax in float64, window after window, over the padded scan; the reference."""
    short = [max(p - n, 0) for n, p in zip(image.shape[1:], patch, strict=True)]
    widths = [(0, 0), *((m // 2, m - m // 2) for m in short)]
    padded = np.pad(image.numpy(), widths)
    total, count = np.zeros((3, *padded.shape[1:])), np.zeros(padded.shape[1:])
    weight = np.ones(patch)
    if tapered:  # steps to the nearest border of the window, along each axis
        steps = [np.minimum(np.arange(p), np.arange(p)[::-1]) + 1 for p in patch]
        weight = np.einsum("x,y,z->xyz", *(s / s.max() for s in steps))
    ranges = [
        [min(i * s, n - p) for i in range(ceil((n - p) / s) + 1)]
        for n, p, s in zip(padded.shape[1:], patch, stride, strict=True)
    ]
    if tapered:
        ranges = [
            [int(i * r[-1] / max(len(r) - 1, 1) + 1e-9) for i in range(len(r))] for r in ranges
        ]
    for corner in product(*ranges):
        part = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
        with torch.no_grad():
            logits = network(torch.from_numpy(padded[(slice(None), *part)])[None]).logits
        total[(slice(None), *part)] += logits[0].double().softmax(0).numpy() * weight
        count[part] += weight
    inside = [slice(a, a + n) for (a, _), n in zip(widths[1:], image.shape[1:], strict=True)]
    mean: np.ndarray = (total / count)[(slice(None), *inside)]
    return mean


@pytest.mark.parametrize(("shape", "patch", "stride"), CASES)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("tapered", [False, True])
def test_equals_a_plain_loop_over_windows(
    shape: IntTriple, patch: IntTriple, stride: IntTriple, batch: int, tapered: bool
) -> None:
    network, image = small_vnet(), noise(1, *shape)
    how = Windows(patch=patch, stride=stride, classes=3, windows_per_batch=batch, tapered=tapered)
    found = predict_probabilities(network, image, how)
    expected = one_at_a_time(network, image, patch, stride, tapered)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert expected.max() > 0.7, "the probabilities must not all be alike"
    labels = predict_labels(network, image, how)
    np.testing.assert_array_equal(labels.numpy(), found.numpy().argmax(0))


def test_equals_monai_where_the_grids_agree() -> None:
    """MONAI's windows stand on the same grid when the stride divides size - patch."""
    inferers = pytest.importorskip("monai.inferers")

    network = small_vnet()
    image = noise(1, 24, 20, 16)

    def probabilities(x: Tensor) -> Tensor:
        return network(x).logits.softmax(1)

    with torch.no_grad():
        theirs = inferers.sliding_window_inference(
            image[None], (8, 8, 8), 3, probabilities, overlap=0.5, mode="constant"
        )[0]
    ours = predict_probabilities(
        network, image, Windows(patch=(8, 8, 8), stride=(4, 4, 4), classes=3)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_window_positions_worked_out_by_hand() -> None:
    """196 voxels, patch 112, stride 18: ceil(84 / 18) + 1 = 6, the last at 84 and not at 90."""
    assert axis_starts(196, 112, 18) == (0, 18, 36, 54, 72, 84)
    assert axis_starts(88, 80, 4) == (0, 4, 8)
    assert axis_starts(88, 80, 3) == (0, 3, 6, 8)
    assert axis_starts(88, 80, 3, even=True) == (0, 2, 5, 8)
    assert axis_starts(80, 80, 3, even=True) == (0,)
    assert Grid((196, 148, 88), LA_PATCH, LA_STRIDE).count == 6 * 3 * 3


@pytest.mark.skipif(not LA.exists(), reason="the left-atrium scans are not here")
def test_the_twenty_la_test_scans_have_1128_windows() -> None:
    import nibabel

    names = (LA / "test.list").read_text().split()
    shapes = [nibabel.load(LA / "images" / f"{name}.nii.gz").shape for name in names]
    assert len(shapes) == 20
    assert sum(Grid(shape, LA_PATCH, LA_STRIDE).count for shape in shapes) == 1128


@pytest.mark.parametrize(("shape", "patch", "stride"), CASES[:5])
def test_windows_are_walked_once_each(
    shape: IntTriple, patch: IntTriple, stride: IntTriple
) -> None:
    grid = Grid(shape, patch, stride)
    walked = list(grid.walk())
    assert len(walked) == grid.count
    assert set(walked) == set(product(*grid.starts))


MEMORY = """
import resource, sys, torch
from tests.inference.test_sliding_window import OfManyClasses
from simcvd.inference.sliding_window import Windows, predict_labels
torch.set_num_threads(1)
image = torch.rand(1, 48, 56, 320)
run = Windows(patch=(16, 16, 16), stride=(8, 8, 8), classes=20, windows_per_batch=4)
predict_labels(OfManyClasses(), image[..., :16], run)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
labels = predict_labels(OfManyClasses(), image, run)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert labels.unique().numel() == 20
print((after - before) * 1024)
"""


class OfManyClasses(nn.Module):
    """Twenty classes, each the likeliest in its own range of intensities."""

    def forward(self, x: Tensor) -> Prediction:
        centres = torch.arange(20).reshape(1, 20, 1, 1, 1) / 19
        return Prediction(logits=-100 * (x - centres) ** 2, distance=None, features=x)


def test_labels_of_many_classes_take_bounded_memory() -> None:
    """All probabilities would be 69 MB; a cross-section's sums are 4 MB, the labels 1 MB."""
    command = [sys.executable, "-c", MEMORY]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=True)
    assert int(done.stdout) < 20e6


def test_the_memory_stated_for_a_large_scan_stays_below_its_probabilities() -> None:
    how = Windows(patch=(112, 112, 80), stride=(56, 56, 40), classes=20)
    need = sums_needed((512, 512, 800), how)
    # Across z: 40 planes kept, one row of 80 planes and 120 lines (the last two rows of windows
    # stand 8 lines apart and go together).
    voxels = 40 * 512 * 512 + 80 * 120 * 512
    assert need == 4 * 20 * voxels
    assert need < 0.08 * 4 * 20 * 512 * 512 * 800


def test_a_scan_smaller_than_the_patch_is_padded_and_cut_back() -> None:
    image = torch.zeros(1, 5, 20, 3)
    image[:, 1, 4, 2] = 1
    labels = predict_labels(
        Threshold(), image, Windows(patch=(8, 8, 8), stride=(4, 4, 4), classes=2)
    )
    torch.testing.assert_close(labels, (image[0] > 0.5).to(torch.uint8))


def test_modes_of_modules_are_given_back() -> None:
    network = small_vnet().train()
    network.dropout.eval()
    image = noise(1, 8, 8, 8)
    settings = {"patch": (8, 8, 8), "stride": (4, 4, 4), "classes": 3}
    statistics = {k: v.clone() for k, v in network.state_dict().items()}
    predict_labels(network, image, Windows(**settings))  # type: ignore[arg-type]
    assert network.training
    assert not network.dropout.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, statistics[name]), name


def test_bfloat16_keeps_the_mean_of_probabilities_in_float32() -> None:
    network, image = small_vnet(), noise(1, 12, 12, 12)
    settings = {"patch": (8, 8, 8), "stride": (4, 4, 4), "classes": 3}
    half = predict_probabilities(network, image, Windows(autocast=torch.bfloat16, **settings))  # type: ignore[arg-type]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.sum(0), torch.ones(12, 12, 12), atol=1e-6, rtol=0)


def test_mistakes_are_named() -> None:
    image = noise(1, 8, 8, 8)

    def run(scan: Tensor = image, **changes: object) -> None:
        settings = {"patch": (8, 8, 8), "stride": (4, 4, 4), "classes": 2, **changes}
        predict_labels(Threshold(), scan, Windows(**settings))  # type: ignore[arg-type]

    with pytest.raises(SimcvdError, match=r"stride \(9, 4, 4\) is larger than the patch"):
        run(stride=(9, 4, 4))
    with pytest.raises(SimcvdError, match="gives 2 classes but 3 were declared"):
        run(classes=3)
    with pytest.raises(SimcvdError, match="not finite"):
        run(image.clone().index_fill_(1, torch.tensor([2]), float("nan")))


@pytest.mark.parametrize(
    ("patch", "classes", "batch"),
    [((112, 112, 80), 2, 2), ((112, 112, 80), 20, 1), ((32, 32, 32), 20, 32)],
)
def test_a_window_goes_alone_only_where_its_classes_are_many(
    patch: IntTriple, classes: int, batch: int
) -> None:
    assert Windows(patch=patch, stride=patch, classes=classes).batch == batch
    half = Windows(patch=patch, stride=patch, classes=classes, autocast=torch.bfloat16)
    assert half.batch == 2 * batch
