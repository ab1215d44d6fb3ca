"""Page faults of repeated large allocations, with and without `keep_freed_memory`; GPUs."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from simcvd.cli import app
from simcvd.machine import use_only, visible_gpus
from simcvd.types import SimcvdError

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


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # put back afterwards, whatever it was
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("gpus", [8], indirect=True)
@pytest.mark.parametrize(("named", "found"), [(None, "0 1 2"), ("5, 3,1,0,2,4,6,7", "5 3 1")])
def test_gpus_are_named_as_the_environment_names_them(
    named: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus()[:3] == found.split()
    assert len(visible_gpus()) == 8


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("gpus", "device", "seen"),
    [(2, "auto", None), (2, "cpu", ""), (2, "cuda", "7,3"), (2, "cuda:1", "3"), (0, "cpu", "")],
    indirect=["gpus"],
)
def test_a_command_sees_the_device_it_was_given_alone(
    device: str, seen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of the visible ones is number 3 of the machine."""
    if torch.cuda.device_count():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,3")
        seen = "7,3" if seen is None else seen
    use_only(device)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("gpus", "device", "there"),
    [(0, "cuda", "auto, cpu"), (1, "cuda:1", "auto, cpu, cuda, cuda:0"), (1, "gpu", "auto, cpu")],
    indirect=["gpus"],
)
def test_a_device_that_is_not_here_is_refused(device: str, there: str) -> None:
    with pytest.raises(SimcvdError, match=f"--device {device} is not here; choose {there}"):
        use_only(device)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("gpus", [0], indirect=True)
@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("train CACHE --labeled 1 --out OUT --device cuda", "cuda is not here"),
        ("run --images SCANS --out OUT --device cuda", "cuda is not here"),
        ("run --images SCANS --out OUT --device cpu --workers tcp://host:1", "a cluster's workers"),
    ],
)
def test_commands_take_it(command: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "SCANS").mkdir()
    with pytest.raises(SimcvdError, match=why):
        app([str(tmp_path / w) if w.isupper() else w for w in command.split()],
            standalone_mode=False)  # fmt: skip
    assert not (tmp_path / "OUT").exists()
