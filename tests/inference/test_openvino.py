"""`predict --runtime openvino`: torch's segmentations, or a refusal."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.inference.tools import OBLIQUE, blob, small_vnet, spec
from torch import nn

from simcvd.inference import openvino
from simcvd.inference.average import Averaged
from simcvd.inference.compute import Compute
from simcvd.inference.model import Model, save_model
from simcvd.inference.openvino import in_runtime
from simcvd.inference.predict import predict_files
from simcvd.inference.scan import predict_scan
from simcvd.networks.fast import accelerate, plain
from simcvd.networks.vnet import VNet
from simcvd.types import SimcvdError, Volume

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO")
COMPUTE = Compute(runtime="openvino", precision="float32")


def model(network: nn.Module) -> Model:
    return Model(network=network.eval(), spec=spec())


def scan(folder: Path, seed: int = 0) -> Path:
    import nibabel

    folder.mkdir(exist_ok=True)
    path = folder / f"scan{seed}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(blob(seed=seed)[0], OBLIQUE), path)
    return path


@pytest.mark.parametrize("axes", [(), (0, 2)])
def test_the_labels_are_those_of_torch(axes: tuple[int, ...]) -> None:
    network = accelerate(small_vnet(), training=True)
    with_torch = model(Averaged([network, small_vnet(1)], axes) if axes else network)
    volume = Volume(array=blob(), affine=OBLIQUE)
    wanted = predict_scan(with_torch, volume)
    found = predict_scan(in_runtime(with_torch, COMPUTE), volume, COMPUTE)
    assert len(np.unique(wanted)) > 1
    assert (wanted == found).mean() > 0.999  # a voxel that two classes share may fall to either


def test_layers_that_an_exporter_cannot_follow_become_torchs_own() -> None:
    # 64 channels: convolved in Winograd's way, which OpenVINO converts to something else.
    torch.manual_seed(0)
    network = accelerate(
        VNet(1, 2, widths=(32, 64), blocks=(1, 2), strides=((2, 2, 2),)), training=True
    )
    copied = plain(network.eval())
    kinds = {type(layer) for layer in copied.modules()}
    assert nn.Conv3d in kinds
    assert not {kind for kind in kinds if issubclass(kind, nn.Conv3d)} - {nn.Conv3d}
    assert {id(p) for p in copied.parameters()} == {id(p) for p in network.parameters()}
    x = torch.randn(2, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(copied(x).logits, network(x).logits, rtol=0, atol=1e-5)


def test_files_are_those_of_torch_and_a_second_call_does_nothing(tmp_path: Path) -> None:
    save_model(tmp_path / "run", small_vnet(), spec())
    scans = [scan(tmp_path / "scans", seed) for seed in (0, 1)]
    by_torch = predict_files(tmp_path / "run", scans, tmp_path / "torch", device="cpu")
    first = predict_files(tmp_path / "run", scans, tmp_path / "out", runtime="openvino")
    for one, other in zip(by_torch, first, strict=True):
        assert one.read_bytes() == other.read_bytes()
    stamps = [path.stat().st_mtime_ns for path in first]
    predict_files(tmp_path / "run", scans, tmp_path / "out", runtime="openvino", processes=2)
    assert [path.stat().st_mtime_ns for path in first] == stamps


def test_what_differs_from_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # As where a layer of the network is converted to what does not compute the same.
    wrong = small_vnet(1)
    monkeypatch.setattr(openvino, "plain", lambda network: _Once(network, wrong))
    with pytest.raises(SimcvdError, match=r"differ from torch's by up to .* leave --runtime out"):
        in_runtime(model(small_vnet()), COMPUTE)


class _Once(nn.Module):
    """One network while it is traced, another afterwards."""

    def __init__(self, network: nn.Module, later: nn.Module) -> None:
        super().__init__()
        self.network, self.later = network, later

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        used = self.network if torch.jit.is_tracing() else self.later
        logits: torch.Tensor = used(x).logits
        return logits


def test_a_network_that_cannot_be_converted_is_refused() -> None:
    class Breaking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no such layer")

    with pytest.raises(SimcvdError, match=r"OpenVINO cannot take this network .*leave --runtime"):
        in_runtime(model(Breaking()), COMPUTE)


class _Choosing(nn.Module):
    """Bright patches go another way: tracing with a dark one would follow that for all."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, -x, -x] if x.mean() > 0.5 else [-x, x, x], 1)


class _OfOneBatch(nn.Module):
    """Right for any batch in torch; a graph keeps the size of the batch that it was traced with."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        each = x.reshape(int(x.shape[0]), -1).mean(1).reshape(int(x.shape[0]), 1, 1, 1, 1)
        return torch.cat([x, each - x, 2 * each - x], 1)


@pytest.mark.parametrize("network", [_Choosing(), _OfOneBatch()])
def test_a_network_of_which_no_one_graph_is_right_is_refused(network: nn.Module) -> None:
    with pytest.raises(SimcvdError, match="leave --runtime out"):
        in_runtime(model(network), COMPUTE)


def test_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SimcvdError, match="there is no runtime 'tensorrt'; give torch or openvino"):
        Compute(runtime="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(SimcvdError, match="--runtime openvino computes on a CPU; leave --device"):
        Compute(runtime="openvino", device="cuda")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SimcvdError, match=r"pip install 'simcvd\[openvino\]'"):
        in_runtime(model(small_vnet()), COMPUTE)


def test_nobody_is_told_that_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's telemetry begins by giving the user a number, in a file."""
    for name in ("HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    save_model(tmp_path / "run", small_vnet(), spec())
    command = ["predict", tmp_path / "run", scan(tmp_path / "scans"), "--out", tmp_path / "out"]
    simcvd = [sys.executable, "-m", "simcvd.cli", *map(str, command), "--runtime", "openvino"]
    subprocess.run(simcvd, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "scans", "out"}
