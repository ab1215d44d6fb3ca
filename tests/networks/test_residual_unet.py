"""The residual U-Net against torch's own operations, and all that a run does with it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.small import LABELED, TRAIN
from torch import Tensor, nn
from torch.nn import functional

import simcvd
from simcvd.data.cache import Cache
from simcvd.losses.segmentation import segmentation, supervised
from simcvd.networks.build import architecture, build_network, described
from simcvd.networks.residual_unet import Block, ResidualUNet, ResidualUNetConfig
from simcvd.training.run import resolve
from simcvd.types import Prediction, SimcvdError

SMALL = ResidualUNetConfig(
    widths=(4, 6, 8), blocks=(1, 2, 1), strides=((2, 2, 1), (2, 2, 2)), supervised=3
)


@pytest.fixture
def network() -> ResidualUNet:
    torch.manual_seed(0)
    built = SMALL.build(channels=2, classes=3, distance=True)
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.3)
    return built


def by_hand(weights: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """The same network in torch's functions, line by line from its weights."""

    def conv(name: str, x: Tensor, **how: object) -> Tensor:
        return functional.conv3d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **how)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance = x.mean((2, 3, 4), True), x.var((2, 3, 4), correction=0, keepdim=True)
        gain, shift = (weights[f"{name}.{p}"].reshape(-1, 1, 1, 1) for p in ("weight", "bias"))
        return (x - mean) / (variance + 1e-5).sqrt() * gain + shift

    def leaky(x: Tensor) -> Tensor:
        return x.where(x > 0, 0.01 * x)

    def block(name: str, x: Tensor, stride: tuple[int, ...]) -> Tensor:
        y = leaky(norm(f"{name}.layers.1", conv(f"{name}.layers.0", x, stride=stride, padding=1)))
        y = norm(f"{name}.layers.4", conv(f"{name}.layers.3", y, padding=1))
        at = 0
        if stride != (1, 1, 1):
            x, at = functional.avg_pool3d(x, stride), 1
        if f"{name}.shortcut.{at}.weight" in weights:
            x = norm(f"{name}.shortcut.{at + 1}", conv(f"{name}.shortcut.{at}", x))
        return leaky(y + x)

    def up(at: int, x: Tensor, stride: tuple[int, ...]) -> Tensor:
        weight, bias = weights[f"up.{at}.weight"], weights[f"up.{at}.bias"]
        return functional.conv_transpose3d(x, weight, bias, stride=stride)

    one = (1, 1, 1)
    fine = leaky(norm("stem.1", conv("stem.0", x, padding=1)))
    fine = block("encoder.0.0", fine, one)
    middle = block("encoder.1.1", block("encoder.1.0", fine, (2, 2, 1)), one)
    deep = block("encoder.2.0", middle, (2, 2, 2))
    y = torch.cat([up(1, deep, (2, 2, 2)), middle], 1)
    coarse = leaky(norm("decoder.1.1", conv("decoder.1.0", y, padding=1)))
    y = torch.cat([up(0, coarse, (2, 2, 1)), fine], 1)
    y = leaky(norm("decoder.0.1", conv("decoder.0.0", y, padding=1)))
    return {
        "logits": conv("class_head", y),
        "distance": conv("distance_head", y).tanh(),
        "features": deep,
        "auxiliary": conv("auxiliary_heads.0", coarse),
    }


def test_it_computes_what_its_lines_say(network: ResidualUNet) -> None:
    x = torch.randn(2, 2, 8, 12, 4)
    found, wanted = network(x), by_hand(network.state_dict(), x)
    assert found.logits.shape == (2, 3, 8, 12, 4)
    assert [tuple(logits.shape) for logits in found.auxiliary] == [(2, 3, 4, 6, 4)]
    for name in ("logits", "distance", "features"):
        torch.testing.assert_close(getattr(found, name), wanted[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.auxiliary[0], wanted["auxiliary"], rtol=1e-4, atol=1e-4)


def test_coarse_maps_have_heads_in_training_only(network: ResidualUNet) -> None:
    x = torch.randn(1, 2, 8, 8, 4)
    training = network(x)
    evaluated = network.eval()(x)
    assert evaluated.auxiliary == ()
    assert torch.equal(evaluated.logits, training.logits)  # instance norms have no statistics


def test_a_block_of_no_convolution_is_its_shortcut() -> None:
    block = Block(1, 1, (1, 1, 1))
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(block.layers[4].bias, 0.5)
    x = torch.tensor([-1.0, 2.0]).reshape(1, 1, 2, 1, 1)
    # lrelu(-1 + 1/2) = -0.01 / 2; lrelu(2 + 1/2) = 5/2
    torch.testing.assert_close(block(x).flatten(), torch.tensor([-0.005, 2.5]))


def test_a_deepest_voxel_sees_as_far_as_its_kernels_reach() -> None:
    sizes = ResidualUNetConfig(widths=(2, 2), blocks=(1, 1), strides=((2, 2, 1),))
    network = sizes.build(channels=1, classes=2, distance=False)
    for module in list(network.modules()):  # a norm would see all
        for name, child in list(module.named_children()):
            if isinstance(child, nn.InstanceNorm3d):
                setattr(module, name, nn.Identity())
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    x = torch.zeros(1, 1, 32, 32, 32, requires_grad=True)
    network.encode(x)[-1][0, 0, 8, 8, 16].backward()
    seen = x.grad[0, 0].nonzero()
    # Stem 3, a block 2 + 2 more, the halving 2 more, and 2 of what are 2 voxels: 13; along Z 11.
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [13, 13, 11]


def test_it_has_the_parameters_that_are_documented() -> None:
    count = sum(p.numel() for p in ResidualUNet(1, 2).parameters())
    assert f"{count:,} parameters" in (ResidualUNet.__doc__ or "")


@pytest.mark.parametrize(
    ("patch", "complaint"),
    [((8, 8, 3), r"each side must be a multiple of \(4, 4, 2\)"), ((4, 4, 2), "one voxel is left")],
)
def test_patches_that_it_cannot_take_are_named(patch: tuple[int, int, int], complaint: str) -> None:
    assert SMALL.misfit((8, 8, 4)) == ""
    with pytest.raises(SimcvdError, match=r"halved evenly|leaves one voxel"):
        SMALL.build(channels=1, classes=2, distance=False)(torch.zeros(1, 1, *patch))
    assert re.search(complaint, SMALL.misfit(patch))


def test_coarser_maps_weigh_half_of_the_next() -> None:
    torch.manual_seed(0)
    label = torch.randint(2, (2, 8, 8, 4))
    logits = [torch.randn(2, 2, 8, 8, 4), torch.randn(2, 2, 4, 4, 4), torch.randn(2, 2, 2, 2, 2)]
    prediction = Prediction(logits=logits[0], auxiliary=tuple(logits[1:]))
    labels = [label, label[:, 1::2, 1::2], label[:, 2::4, 2::4, 1::2]]  # nearest to the centre
    fine, half, quarter = map(segmentation, logits, labels)
    expected = (fine + half / 2 + quarter / 4) / 1.75
    torch.testing.assert_close(supervised(prediction, label), expected)
    alone = Prediction(logits=logits[0])
    assert torch.equal(supervised(alone, label), fine)


def test_it_is_read_back_from_its_record() -> None:
    arguments = {"channels": 2, "classes": 3, "distance": True, **SMALL.record()}
    assert described(arguments) == SMALL
    built = build_network(arguments)
    assert isinstance(built, ResidualUNet)
    assert built.divisor == (4, 4, 2)
    with pytest.raises(SimcvdError, match="no network 'residual_net'; did you mean residual_unet"):
        architecture("residual_net")


def test_a_setting_chooses_it(small_cache: Cache) -> None:
    settings = ("network.widths=(4,8)", "network.name=residual_unet", "network.blocks=(1,1)")
    run = resolve(
        small_cache, method="supervised", labeled=LABELED, train=TRAIN,
        settings=(*settings, "network.strides=((2,2,2),)"),
    )  # fmt: skip
    assert run.network == ResidualUNetConfig(widths=(4, 8), blocks=(1, 1), strides=((2, 2, 2),))
    assert run.record()["network"]["name"] == "residual_unet"
    with pytest.raises(SimcvdError, match="one voxel is left on the coarsest map"):
        resolve(
            small_cache, method="supervised", labeled=LABELED,
            train=replace(TRAIN, patch=(16, 16, 16)), settings=["network.name=residual_unet"],
        )  # fmt: skip


def test_trained_with_simcvd_resumed_scored_predicted_and_exported(
    small_cache: Cache, tmp_path: Path
) -> None:
    sizes = replace(SMALL, strides=((2, 2, 1), (2, 2, 1)))
    settings = {
        "train.iterations": 2,
        "train.patch": (16, 16, 8),
        "train.precision": "float32",
        "method.pool": 8,
        "method.hidden": 16,
    }
    run = simcvd.train(
        small_cache, tmp_path / "run", labeled=LABELED, recipe="paper",
        network=sizes, settings=settings,
    )  # fmt: skip
    weights = (run / "model.safetensors").read_bytes()
    (run / "model.json").unlink()  # as if it had been stopped after its last checkpoint
    again = simcvd.train(
        small_cache, run, labeled=LABELED, recipe="paper", network=sizes, settings=settings
    )
    assert (again / "model.safetensors").read_bytes() == weights
    simcvd.export(run, tmp_path / "model.zip")
    model = simcvd.load_model(tmp_path / "model.zip")
    assert isinstance(model.network, ResidualUNet)
    assert model.network.distance_head is not None
    scan = torch.randn(20, 18, 12).numpy()
    labels = simcvd.predict(model, scan, affine=np.eye(4), device="cpu")
    assert labels.shape == scan.shape


def test_it_is_one_graph_and_exports(network: ResidualUNet) -> None:
    x = torch.randn(1, 2, 8, 8, 4)
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager", dynamic=False)
    torch.testing.assert_close(compiled(x).auxiliary[0], network(x).auxiliary[0])
    network.eval()
    with torch.no_grad():
        found = torch.export.export(network, (x,)).module()(x)
        assert isinstance(found, Prediction)
        torch.testing.assert_close(found.logits, network(x).logits)
