"""Which number format the networks run in."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from simcvd.types import SimcvdError

Precision = Literal["auto", "float32", "bfloat16"]
# Weights of one output up to which a convolution is done in float32: 3 x 3 x 3 of up to 4 channels.
FEW = 4 * 27
# Voxels along each axis of a map from which on a CPU convolves it in bfloat16. With fewer, oneDNN's
# kernels for AVX512-BF16 err: a 3x3x3 convolution of (2, Y, Z) voxels gets a gradient that has
# nothing to do with its weights, one of 4x4x4 with stride 2 to (X, 1, 1) writes beyond its memory.
LEAST = 3
# Kinds of device with half precision. Torch's own list would break a compiled network's one graph
# at every convolution: the compiler of torch 2.11 cannot see through the question.
AUTOCASTS = ("cpu", "cuda", "mps", "xpu")


def autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The half-precision type of the networks, or None for float32.

    "auto" takes bfloat16 where the processor computes in it; where it is only emulated a
    step becomes tens of times slower.

    Raises:
        SimcvdError: another word.
    """
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise SimcvdError(f"there is no precision {precision!r}; give one of {known}")
    if precision == "float32":
        return None
    if precision == "bfloat16" or _has_bfloat16(device):
        return torch.bfloat16
    return None


def autocast(dtype: torch.dtype | None, device: torch.device) -> torch.autocast:
    """The context in which networks run; does nothing for ``dtype`` None."""
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


class Conv3d(nn.Conv3d):
    """torch's, but inside autocast in float32 where half precision would not do.

    That is a convolution of few weights, such as that of the image itself: neighbouring voxels are
    alike, so that the errors of its rounded weights add up where those of many cancel; they moved a
    V-Net's probabilities by five times as much as all its other layers' (docs/speed.md). And on a
    CPU that of maps of one or two voxels along an axis, of which torch's gradients are wrong.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, X, Y, Z]`` to ``[B, out, X', Y', Z']``."""
        kind = x.device.type
        if not _autocasts(kind) or self.computes_in_half(x):
            return super().forward(x)
        with torch.autocast(kind, enabled=False):
            y: Tensor = self(x.float())
        return y.to(torch.get_autocast_dtype(kind))

    def computes_in_half(self, x: Tensor) -> bool:
        """Whether ``x`` is convolved in half precision inside autocast."""
        return self.weight[0].numel() > FEW and not (x.device.type == "cpu" and self._is_small(x))

    def _is_small(self, x: Tensor) -> bool:
        assert not isinstance(self.padding, str)
        sizes = (self.padding, self.kernel_size, self.stride, self.dilation)
        axes = zip(x.shape[2:], *sizes, strict=True)
        return min((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, k, s, d in axes) < LEAST


def half_on_cpu(x: Tensor) -> bool:
    """Whether a layer that is called with ``x`` computes in half precision on a CPU."""
    return x.device.type == "cpu" and _autocasts("cpu")


def _autocasts(kind: str) -> bool:
    return kind in AUTOCASTS and torch.is_autocast_enabled(kind)


def _cpu_has_bfloat16() -> bool:
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a private operator: a torch without it is taken at
        return False  # its slowest


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_has_bfloat16()
