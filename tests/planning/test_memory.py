"""The counted maps and weights beside those of real networks."""

from __future__ import annotations

import pytest
import torch

from simcvd.networks.base import Architecture
from simcvd.networks.residual_unet import ResidualUNetConfig
from simcvd.networks.vnet import VNetConfig
from simcvd.planning.memory import free_bytes, step_bytes
from simcvd.types import IntTriple

SIZES = [
    ((32, 32, 16), 1, (16, 32, 64), (1, 2, 3), ((2, 2, 1), (2, 2, 2))),
    ((32, 32, 32), 4, (4, 8, 16, 32), (1, 2, 3, 3), ((2, 2, 2),) * 3),
    ((24, 16, 8), 2, (8, 16), (2, 2), ((2, 2, 1),)),
]
NETWORKS = [
    (patch, channels, kind(widths=widths, blocks=blocks, strides=strides))
    for kind in (VNetConfig, ResidualUNetConfig)
    for patch, channels, widths, blocks, strides in SIZES
]


@pytest.mark.parametrize(("patch", "channels", "sizes"), NETWORKS)
def test_maps_kept_are_those_that_autograd_keeps(
    patch: IntTriple, channels: int, sizes: Architecture
) -> None:
    net = sizes.build(channels=channels, classes=2, distance=True)
    own = {t.untyped_storage().data_ptr() for t in [*net.parameters(), *net.buffers()]}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            saved[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(torch.randn(2, channels, *patch))
    values = sum(t.untyped_storage().nbytes() // 4 for t in saved.values()) / 2
    assert sizes.kept(patch, channels) == pytest.approx(values, rel=0.06)


@pytest.mark.parametrize(("patch", "channels", "sizes"), NETWORKS)
def test_weights_are_counted_right(patch: IntTriple, channels: int, sizes: Architecture) -> None:
    net = sizes.build(channels=channels, classes=3, distance=True)
    weights = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    assert sizes.parameters(channels, 3) == weights


def test_more_classes_channels_and_patches_need_more() -> None:
    def need(classes: int = 2, channels: int = 1, batch: int = 4) -> int:
        return step_bytes(
            network=VNetConfig(widths=(16, 32), blocks=(1, 2), strides=((2, 2, 2),)),
            patch=(64, 64, 64), channels=channels, classes=classes, batch=batch, labeled_batch=2,
        )  # fmt: skip

    voxels = 64**3
    # 8 loss maps a class and patch; weights of the first layer and the heads are nothing beside.
    assert need(classes=20) - need() == pytest.approx(18 * 8 * 4 * 4 * voxels, rel=1e-3)
    assert need(channels=4) - need() == pytest.approx(3 * 4 * 4 * voxels, rel=0.01)
    assert need(batch=6) > need(batch=4)


def test_a_large_deepest_map_costs_its_square() -> None:
    def need(strides: tuple[IntTriple, ...]) -> int:
        return step_bytes(
            network=VNetConfig(widths=(4, 4), blocks=(1, 1), strides=strides),
            patch=(32, 32, 32), channels=1, classes=2, batch=4, labeled_batch=2,
        )  # fmt: skip

    # 16 x 16 x 32 voxels instead of 16 x 16 x 16: four matrices for each of 2 unlabelled patches.
    more = 4 * 2 * 4 * (8192**2 - 4096**2)
    assert need(((2, 2, 1),)) - need(((2, 2, 2),)) == pytest.approx(more, rel=0.02)


def test_there_is_some_memory() -> None:
    assert 1 << 28 < free_bytes() < 1 << 50
