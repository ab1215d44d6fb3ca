"""Which number format the networks run in."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The half-precision type of the networks, or None for float32.

    "auto" takes bfloat16 where the processor computes in it; where it is only emulated a
    step becomes tens of times slower.
    """
    if precision == "float32":
        return None
    if precision == "bfloat16" or _has_bfloat16(device):
        return torch.bfloat16
    return None


def autocast(dtype: torch.dtype | None, device: torch.device) -> torch.autocast:
    """The context in which networks run; does nothing for ``dtype`` None."""
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
