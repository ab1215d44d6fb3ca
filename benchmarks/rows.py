"""What the speed suite measures, as records and as a table, and what the figures depend on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("simcvd", "torch", "lightning-fabric", "numpy", "scipy", "nibabel", "monai", "medpy")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job done by simcvd and by a plain reference in the same run.

    seconds, reference_seconds: wall clock, of one repetition. cpu_ratio: the same ratio in CPU
    seconds, which other programs disturb less; None where the work is spread over processes.
    peak, reference_peak: bytes the process held at most, its libraries included; on a GPU,
    bytes of the device.
    """

    name: str
    reference: str
    seconds: float
    reference_seconds: float
    cpu_ratio: float | None
    peak: int
    reference_peak: int
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster than the reference."""
        return self.reference_seconds / self.seconds


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A row that was not measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of a training step.

    seconds: median of one step. flops: of its matrix products and convolutions. moved: bytes
    that its operations read and write, each counted on its own. floor: seconds the larger of
    the two would take at the measured rates.
    """

    name: str
    seconds: float
    flops: float
    moved: float
    floor: float


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A training step's parts, and the measured rates of their floors: FLOP and bytes a second."""

    stages: tuple[Stage, ...]
    rate: float
    bandwidth: float


def machine() -> dict[str, Any]:
    """Processor, cores, threads, commit and versions."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "vector": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": _bfloat16_units(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def rows_table(rows: Sequence[Row]) -> list[str]:
    """Markdown, a line a row."""
    lines = [
        "| | simcvd [s] | reference | reference [s] | times faster | in CPU time "
        "| peak [GB] | reference [GB] | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cpu = "" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}"
        lines.append(
            f"| {row.name} | {row.seconds:.4g} | {row.reference} | {row.reference_seconds:.4g} | "
            f"{row.ratio:.2f} | {cpu} | {row.peak / 1e9:.2f} | {row.reference_peak / 1e9:.2f} | "
            f"{row.note} |"
        )
    return lines


def parts_table(parts: Parts) -> list[str]:
    """Markdown, a line a stage of the training step and one for the whole."""
    total = sum(stage.seconds for stage in parts.stages)
    lines = [
        f"Measured here: {parts.rate / 1e9:.0f} GFLOP/s in a matrix product, "
        f"{parts.bandwidth / 1e9:.1f} GB/s read and written in a copy.",
        "",
        "| | seconds | share | GFLOP | GB moved | floor [s] | times the floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage in (*parts.stages, _whole(parts)):
        times = f"{stage.seconds / stage.floor:.1f}" if stage.floor > 1e-5 else ""
        lines.append(
            f"| {stage.name} | {stage.seconds:.4f} | {stage.seconds / total:.1%} | "
            f"{stage.flops / 1e9:.2f} | {stage.moved / 1e9:.3f} | {stage.floor:.4f} | {times} |"
        )
    return lines


def _whole(parts: Parts) -> Stage:
    columns = {
        name: sum(getattr(stage, name) for stage in parts.stages)
        for name in ("seconds", "flops", "moved", "floor")
    }
    return Stage(name="the whole step", **columns)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _bfloat16_units() -> str | None:
    """Which of the processor's units multiply in bfloat16; AMX is many times as fast as AVX512."""
    import torch

    has = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch
    return next((name for name in ("amx_bf16", "avx512_bf16") if has.get(name)), None)


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
