"""Page faults of repeated large allocations, with and without `keep_freed_memory`."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

BLOCK = 64 << 20
# Beside it, never written to. A training step frees more than 2**31 bytes in one piece, which is
# as much as mallopt's threshold can name: beyond it glibc gives everything back.
UNTOUCHED = 3 << 30
SCRIPT = f"""
import resource, sys
import numpy as np
if sys.argv[1]:
    from simcvd.machine import keep_freed_memory
    assert keep_freed_memory()
if sys.argv[1] == "keep no more":
    assert keep_freed_memory(False)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def take_and_free():
    beside = np.empty({UNTOUCHED}, np.uint8)
    block = np.ones({BLOCK}, np.uint8)
    del block, beside
for _ in range(2):
    take_and_free()
before = faults()
for _ in range(3):
    take_and_free()
print(faults() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no mallopt in this libc")
def test_large_blocks_are_reused() -> None:
    given, kept, again = (
        int(subprocess.check_output([sys.executable, "-c", SCRIPT, how]))
        for how in ("", "keep", "keep no more")
    )
    huge = 2 << 20  # where the kernel hands out such pages, a fault brings one of them
    assert given >= 3 * BLOCK // huge
    assert kept < given / 10
    assert again > given / 2
