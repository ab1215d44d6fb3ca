"""What simcvd sets in torch for the whole process, and puts back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def set_switches() -> None:
    """For the rest of the process: how torch computes on a GPU.

    Float32 is float32 and not TF32, which keeps ten bits of its fraction; and cuDNN times its
    kernels and takes the fastest, as shapes never change.
    """
    cudnn: Any = torch.backends.cudnn
    cudnn.benchmark = True
    cudnn.conv.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "ieee"


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch computes on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def left_as_found() -> Iterator[None]:
    """Inside, torch's switches are set; afterwards they and its random states are as before.

    Also a decorator. The random states are the CPU's and those of GPUs that were in use before.
    """
    cudnn: Any = torch.backends.cudnn
    product = torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.conv.fp32_precision, product.fp32_precision
    used = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=used):
        try:
            set_switches()
            yield
        finally:
            cudnn.benchmark, cudnn.conv.fp32_precision, product.fp32_precision = before
