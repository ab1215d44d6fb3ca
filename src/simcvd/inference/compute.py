"""Where and how a network runs over a scan."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal, get_args

import torch

from simcvd.inference.model import Model
from simcvd.inference.sliding_window import Windows
from simcvd.networks.autocast import Precision, autocast_dtype
from simcvd.types import IntTriple, SimcvdError

Runtime = Literal["torch", "openvino"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how the network runs; fields as in `Windows`.

    precision: "auto" is bfloat16 where the device computes in it.
    stride: windows at its exact multiples that all weigh alike, as protocols are scored. None
    takes the model's, with tapered windows, which err less (docs/speed.md).
    fast: few windows, tapered too, three quarters of a patch apart; not with a stride, else
    SimcvdError. processes: those that share the machine's memory with this one, itself counted.
    runtime: what computes the network; OpenVINO does on a CPU only.
    """

    device: torch.device | str = "cpu"
    precision: Precision = "auto"
    windows_per_batch: int | None = None
    stride: IntTriple | None = None
    fast: bool = False
    processes: int = 1
    runtime: Runtime = "torch"

    def __post_init__(self) -> None:
        if self.fast and self.stride is not None:
            raise SimcvdError("--fast chooses the stride itself; give either --fast or --stride")
        if self.runtime not in get_args(Runtime):
            known = " or ".join(get_args(Runtime))
            raise SimcvdError(f"there is no runtime {self.runtime!r}; give {known}")
        if self.runtime != "torch" and torch.device(self.device).type != "cpu":
            raise SimcvdError(f"--runtime {self.runtime} computes on a CPU; leave --device out")

    def windows(self, model: Model) -> Windows:
        """The model's sliding window, run this way."""
        x, y, z = model.spec.patch
        apart = max(3 * x // 4, 1), max(3 * y // 4, 1), max(3 * z // 4, 1)
        return Windows(
            patch=model.spec.patch,
            stride=apart if self.fast else self.stride or model.spec.stride,
            classes=model.spec.classes,
            windows_per_batch=self.windows_per_batch,
            device=self.device,
            autocast=autocast_dtype(self.precision, torch.device(self.device)),
            tapered=self.stride is None,
        )


def pick_device(device: str = "auto") -> torch.device:
    """``auto`` is the GPU if there is one, else the CPU. Raises SimcvdError for none of this
    machine's.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"(cpu|cuda)(:\d+)?", str(device)):
        raise SimcvdError(f"there is no device {device!r}; give auto, cpu, cuda or cuda:N")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        why = str(error).partition("\n")[0]
        raise SimcvdError(f"device '{device}' cannot be used ({why}); try cpu or cuda") from error
