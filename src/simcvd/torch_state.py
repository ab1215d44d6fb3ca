"""What simcvd sets in torch for the whole process, and puts back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def left_as_found() -> Iterator[None]:
    """Also a decorator: inside, torch computes as simcvd needs it; afterwards all is as before.

    Float32 is float32 on a GPU, too, and not TF32, which keeps ten bits of its fraction; and cuDNN
    times its kernels and takes the fastest, as shapes never change. The random states that are put
    back are the CPU's and those of the GPUs that the process has used already.
    """
    cudnn, product = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.conv.fp32_precision, product.fp32_precision
    used = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=used):
        try:
            cudnn.benchmark, cudnn.conv.fp32_precision, product.fp32_precision = True, *["ieee"] * 2
            yield
        finally:
            cudnn.benchmark, cudnn.conv.fp32_precision, product.fp32_precision = before
