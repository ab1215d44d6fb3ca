"""How much memory there is."""

from __future__ import annotations

import os
from pathlib import Path


def free_memory(device: str = "cpu") -> int:
    """Bytes that are free on the machine (``cpu``), a container's limit counted, or on a GPU."""
    if device == "cpu":
        return min(_available(), _limit())
    import torch

    return int(torch.cuda.mem_get_info(device)[0])


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
