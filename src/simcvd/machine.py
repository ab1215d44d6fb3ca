"""How much memory there is and how a process keeps it; which GPUs it sees."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from simcvd.types import SimcvdError

# From glibc's malloc.h; where its own adjustment of two of them ends, and what another begins with.
M_MXFAST, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = 1, -1, -3, -4, -8
LARGE, FAST = 32 << 20, 128
NEVER = -1  # a number, at most 2**31 - 1, is less than a training step frees in one piece


def free_memory(device: str = "cpu") -> int:
    """Bytes that are free on the machine (``cpu``), a container's limit counted, or on a GPU."""
    if device == "cpu":
        return min(_available(), _limit())
    import torch

    free, _ = torch.cuda.mem_get_info(device)  # which counts torch's own emptied blocks as taken
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def all_memory() -> int:
    """Bytes of the whole machine, or what a container may take of them."""
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _limit())


def visible_gpus() -> list[str]:
    """The names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else map(str, range(count))
    return [name.strip() for name in names][:count]


def use_only(device: str) -> None:
    """Show this process and those it starts no other device: auto, cpu, cuda, cuda:1 and its like.

    For a command, and before CUDA is first used. Raises SimcvdError for one that is not there.
    """
    if device == "auto":
        return
    gpus = visible_gpus()
    there = {"cpu": "", **{f"cuda:{number}": gpu for number, gpu in enumerate(gpus)}}
    if gpus:
        there["cuda"] = ",".join(gpus)
    if device not in there:
        raise SimcvdError(f"--device {device} is not here; choose auto, {', '.join(sorted(there))}")
    os.environ["CUDA_VISIBLE_DEVICES"] = there[device]


def _available() -> int:
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _limit() -> int:
    """What a container may take, as far as it says so."""
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(name)
        if path.is_file() and (text := path.read_text(encoding="utf-8").strip()).isdigit():
            return int(text)
    return 1 << 62


_commands = False  # whether the process is a command's, and not a program that calls simcvd


def is_command() -> None:
    """Say so: such a process may have its memory handled as suits training and scoring, and start
    others, which do not see what a caller's own script defines.
    """
    global _commands
    _commands = True


def is_in_command() -> bool:
    """Whether `is_command` was said."""
    return _commands


def reuse_memory(keep: bool = True) -> None:
    """`keep_freed_memory` in a command's process; to a caller's own, nothing is done."""
    if is_in_command():
        keep_freed_memory(keep)


def keep_freed_memory(keep: bool = True) -> bool:
    """Have freed blocks reused instead of given back to the kernel, or given back again.

    Returns whether that could be asked; a C library without these settings is left alone.

    By default glibc maps each large block anew, and the kernel zeroes it page by page at first
    touch. A training frees and takes the same gigabytes of activations every step, scoring with
    every window, and a V-Net's step spent a quarter of its time in that (docs/speed.md). The price
    is a higher peak, which the process keeps as long as this holds: not for a large scan.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    if keep:
        # One arena: the others' heaps are too small for such blocks and would map them again. No
        # list of small free pieces: those that aligned blocks leave keep large holes from merging.
        settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER, M_ARENA_MAX: 1, M_MXFAST: 0}
    else:
        settings = {
            M_MMAP_MAX: 65536,
            M_MMAP_THRESHOLD: LARGE,
            M_TRIM_THRESHOLD: 2 * LARGE,
            M_MXFAST: FAST,
        }
    asked = all(library.mallopt(name, value) == 1 for name, value in settings.items())
    if not keep and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    return asked
