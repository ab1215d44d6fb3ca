"""Networks in OpenVINO instead of torch: on a CPU sooner for small windows (docs/predict.md)."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from simcvd.inference.compute import Compute
from simcvd.inference.model import Model
from simcvd.networks.autocast import autocast_dtype
from simcvd.networks.fast import plain
from simcvd.plugins import optional
from simcvd.types import SimcvdError

CPU = torch.device("cpu")
# Of class probabilities: float32 summed in another order, and rounded to bfloat16's 8 bits.
TOLERANCE = {None: 1e-3, torch.bfloat16: 0.1}


def in_runtime(model: Model, compute: Compute) -> Model:
    """``model``, its network compiled by what ``compute.runtime`` names; for torch as it is.

    Raises SimcvdError without OpenVINO, for a network that it cannot take, and where it computes
    something else than torch does.
    """
    if compute.runtime == "torch":
        return model
    size, half = (model.spec.channels, *model.spec.patch), autocast_dtype(compute.precision, CPU)
    return replace(model, network=OnOpenVINO(model.network, size, half))


class OnOpenVINO(nn.Module):
    """A network, ``[B, C, X, Y, Z]`` to logits ``[B, K, X, Y, Z]``.

    size: C, X, Y, Z. half: bfloat16, or None for float32.
    """

    def __init__(
        self, network: nn.Module, size: tuple[int, int, int, int], half: torch.dtype | None
    ) -> None:
        super().__init__()
        openvino = _imported()
        network = _Logits(plain(network))
        patches = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
        patches[1] += 3  # unlike the first: what a graph made of one patch mixes up is seen in two
        given = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        }
        try:
            _refuse_choices(network, patches)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tracing's age, and of the check of sizes
                graph = openvino.convert_model(
                    network, example_input=(patches[:1],), input=[-1, *size]
                )
            self._run: Any = openvino.Core().compile_model(graph, "CPU", given)
        except Exception as error:  # whatever it raises at a layer that it does not know
            why = " ".join(str(error).split())[:200]
            raise SimcvdError(
                f"OpenVINO cannot take this network ({why}); leave --runtime out"
            ) from error
        with torch.inference_mode():
            apart = (self(patches).softmax(1) - network(patches).softmax(1)).abs().max().item()
        if not apart <= TOLERANCE[half]:  # NaN, too
            raise SimcvdError(
                f"OpenVINO's probabilities differ from torch's by up to {apart:.2g}, more than "
                f"{TOLERANCE[half]:g}; leave --runtime out"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Raises what OpenVINO raises for a batch of other patches."""
        return torch.from_numpy(self._run(x.numpy())[0])

    def __deepcopy__(self, memo: dict[int, Any]) -> OnOpenVINO:
        return self  # it holds nothing that changes


def _imported() -> Any:
    """OpenVINO, which else tells Google Analytics of each import and conversion, and asks nobody.

    Without the package that does so it takes a stand-in of its own.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return optional("openvino", "openvino", "--runtime openvino")


def _refuse_choices(network: nn.Module, patches: Tensor) -> None:
    """Raise where the scan's values decide which layers come next: a graph has one way only.

    A tensor on the meta device has sizes and no values, and whoever asks for one is told so.
    """
    held = chain(network.named_parameters(), network.named_buffers())
    with torch.inference_mode():
        bare = {name: tensor.to("meta") for name, tensor in held}
        functional_call(network, bare, (patches.to("meta"),))


class _Logits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, x: Tensor) -> Tensor:
        found = self.network(x)
        logits: Tensor = found if isinstance(found, Tensor) else found.logits
        return logits
