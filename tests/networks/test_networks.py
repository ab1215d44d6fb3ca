"""The benchmark's V-Net and SimCVD's projection head."""

from __future__ import annotations

import pytest
import torch

from simcvd.networks.projection import ProjectionHead
from simcvd.networks.vnet import VNet
from simcvd.types import SimcvdError


def _parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_vnet_is_the_network_of_the_benchmark() -> None:
    assert _parameters(VNet(1, 2)) == 9_448_866


def test_distance_head_is_one_pointwise_convolution() -> None:
    assert _parameters(VNet(1, 2, distance=True)) - _parameters(VNet(1, 2)) == 17
    assert _parameters(VNet(1, 4, distance=True)) - _parameters(VNet(1, 4)) == 3 * 17


def test_shapes_and_ranges() -> None:
    p = VNet(2, 3, distance=True, widths=(4, 8, 8, 8, 16))(torch.randn(1, 2, 32, 16, 16))
    assert p.logits.shape == (1, 3, 32, 16, 16)
    assert p.distance is not None
    assert p.distance.shape == (1, 2, 32, 16, 16)
    assert p.distance.abs().max() <= 1
    assert p.features.shape == (1, 16, 2, 1, 1)


def test_strides_may_keep_a_thick_axis() -> None:
    network = VNet(1, 2, widths=(4, 8, 8), blocks=(1, 1, 1), strides=((2, 2, 1), (2, 2, 2)))
    assert network.divisor == (4, 4, 2)
    assert network(torch.randn(1, 1, 8, 8, 6)).features.shape == (1, 8, 2, 2, 3)


def test_a_patch_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(SimcvdError, match=r"\(20, 16, 16\).*multiple of \(16, 16, 16\)"):
        VNet(1, 2, widths=(2, 2, 2, 2, 2))(torch.randn(1, 1, 20, 16, 16))


def test_dropout_only_while_training() -> None:
    network = VNet(1, 2, widths=(4, 4, 4, 4, 4))
    x = torch.randn(2, 1, 16, 16, 16)
    assert not torch.equal(network(x).logits, network(x).logits)
    network.eval()
    assert torch.equal(network(x).logits, network(x).logits)


def test_what_the_decoder_reads_is_the_deepest_map_with_channels_dropped() -> None:
    torch.manual_seed(0)
    network = VNet(1, 2, widths=(4, 4, 16), blocks=(1, 1, 1), strides=((2, 2, 2),) * 2)
    x = torch.randn(2, 1, 8, 8, 8)
    p = network(x)
    kept = p.dropped.flatten(2).any(2)
    assert 0 < kept.sum() < kept.numel()
    # p = 0.5: what is kept is doubled.
    torch.testing.assert_close(p.dropped, 2 * p.features * kept[..., None, None, None])
    known, unknown = p.split(1)
    assert torch.equal(torch.cat([known.dropped, unknown.dropped]), p.dropped)
    p = network.eval()(x)
    assert torch.equal(p.dropped, p.features)


def test_rows_apart_train_the_head_or_the_maps() -> None:
    torch.manual_seed(0)
    head, maps = ProjectionHead(pool=4, hidden=8, out=3), torch.randn(2, 6, 6, 2)
    maps.requires_grad_()
    rows, pulled = head.apart(maps)
    assert torch.equal(rows, pulled)  # one dropout mask
    rows.sum().backward()
    assert maps.grad is None
    assert all(p.grad is not None and p.grad.any() for p in head.mlp[-1].parameters())
    head.zero_grad()
    pulled.sum().backward()
    assert maps.grad is not None
    assert maps.grad.any()
    assert all(p.grad is None for p in head.parameters())


def test_projection_head_takes_slices_across_z() -> None:
    head = ProjectionHead(pool=8, hidden=16, out=4).eval()
    volume = torch.randn(2, 10, 12, 5)
    rows = head(volume)
    assert rows.shape == (2 * 5, 4)
    # Row i * Z + j is slice j of volume i, whatever the other slices hold.
    alone = head(volume[1:, :, :, 3:4])
    torch.testing.assert_close(rows[1 * 5 + 3], alone[0])
