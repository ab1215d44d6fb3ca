"""What segmenting scans takes in memory and on the disk, held against what there is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TypeVar

import torch

from simcvd.formats import files_of, read_header, spacing_of
from simcvd.inference.inputs import Job
from simcvd.inference.model import Model
from simcvd.inference.sliding_window import Windows, sums_needed
from simcvd.machine import free_memory
from simcvd.networks.build import described
from simcvd.types import IntTriple, SimcvdError, Volume
from simcvd.wording import by

UNKNOWN_NETWORK = 5 * 16  # numbers a voxel that a network is taken to hold: the V-Net's
# Bytes a voxel of a compressed mask with little in it: LA's and hippocampus's take 6 to 15 times.
MASK = 0.002
# No scan has so many voxels for a byte of its files, and no mask takes a byte a voxel.
ROOMY = 50

Result = TypeVar("Result")


def refuse_grid(model: Model, volume: Volume) -> None:
    """Refuse a scan that would not fit into the memory on the grid of the model's spacing.

    Raises SimcvdError.
    """
    wanted = model.spec.preprocessing.spacing
    if wanted is None:
        return
    x, y, z = spacing_of(volume.affine)
    finer = prod(have / want for have, want in zip((x, y, z), wanted, strict=True))
    need, free = 4 * volume.array.size * finer, free_memory()
    if need > free:
        raise SimcvdError(
            f"a voxel of {x:.3g} x {y:.3g} x {z:.3g} mm becomes {finer:.3g} voxels at the model's "
            f"{by(wanted)} mm. That takes {need / 1e9:.3g} GB, and "
            f"{free / 1e9:.1f} GB are free; look at the scan's voxel size"
        )


def refuse_full_disk(out: Path, made: Sequence[Job], maps: int) -> None:
    """Refuse a disk that the masks, however small, and one scan's maps are sure to fill.

    maps: of a byte a voxel that are held on the disk while a scan is segmented. Where there is
    room for anything the scans' files can hold, no header is read. Raises SimcvdError.
    """
    free = shutil.disk_usage(out).free
    missing = [job for job in made if not job.target.exists()]
    if ROOMY * (1 + maps) * sum(map(_stored, missing)) <= free:
        return
    voxels = [v for job in missing if (v := _voxels(job))]
    need = round(MASK * sum(voxels)) + maps * max(voxels, default=0)
    if need > free:
        raise SimcvdError(
            f"{out}: to segment {len(missing)} scans takes at least {need / 1e6:.1f} MB, and "
            f"{free / 1e6:.1f} MB are free on this disk. Make room, or give another --out"
        )


def _stored(job: Job) -> int:
    """Bytes of a scan's files; 0 where they cannot be looked at, as reading them will say."""
    try:
        return sum(file.stat().st_size for image in job.images for file in files_of(image))
    except (OSError, SimcvdError):
        return 0


def _voxels(job: Job) -> int:
    try:
        return prod(read_header(job.path).shape[:3])
    except SimcvdError:
        return 0


def needed(model: Model, scan: Volume, shape: IntTriple, how: Windows) -> int:
    """Bytes at the peak: scan, sums of windows, network, and the result of ``shape``."""
    return int(scan.array.nbytes) + sum(_of_windows(model, scan, how)) + 2 * prod(shape)


def fitted(
    model: Model, scan: Volume, shape: IntTriple, how: Windows, *, processes: int = 1
) -> Windows:
    """``how``, made sparer (`sparer`) until it fits into the free memory.

    The scan itself is in memory already and so counts as there, if not on a GPU. processes: those
    that share the memory. Raises SimcvdError if the sparest is still too much.
    """
    while short := _short(model, scan, shape, how, processes):
        less = sparer(how)
        if less is None:
            need, free, device = short
            raise SimcvdError(
                f"segmenting it needs {need / 1e9:.1f} GB of memory beyond the scan's own, but "
                f"{free / 1e9:.1f} GB are free on {device}; close other programs, take a machine "
                "with more memory, or cut the scan to the part of interest"
            )
        how = less
    return how


def sparer(how: Windows) -> Windows | None:
    """What takes less memory: half the windows a batch; of one alone on a GPU, only that there."""
    if how.batch > 1:
        return replace(how, windows_per_batch=how.batch // 2)
    if how.home.type == "cpu":
        return None
    return replace(how, spared=True)


def sparing(how: Windows, work: Callable[[Windows], Result]) -> Result:
    """``work(how)``, again from its start with what is sparer whenever memory runs out in it.

    Other programs and fragments take memory that no count foresees. Raises torch's
    OutOfMemoryError where there is nothing sparer.
    """
    while True:
        try:
            return work(how)
        except torch.OutOfMemoryError:
            less = sparer(how)
            if less is None:
                raise
        how = less
        torch.cuda.empty_cache()  # here, as what failed is held until its exception is gone


def _short(
    model: Model, scan: Volume, shape: IntTriple, how: Windows, processes: int
) -> tuple[int, int, torch.device] | None:
    """Bytes needed and free on the device that has too few, if one has."""
    device = torch.device(how.device)
    sums, network = _of_windows(model, scan, how)
    needs = {device: network}
    needs[how.home] = needs.get(how.home, 0) + sums
    if how.home.type != "cpu":
        needs[how.home] += int(scan.array.nbytes)
    cpu = torch.device("cpu")
    needs[cpu] = needs.get(cpu, 0) + 2 * prod(shape)
    for place, need in needs.items():
        if need > (free := free_memory(str(place)) // processes):
            return need, free, place
    return None


def _of_windows(model: Model, scan: Volume, how: Windows) -> tuple[int, int]:
    """Bytes of the sums, and of the network with what it gives."""
    size = model.spec.network
    held = UNKNOWN_NETWORK
    if "factory" not in size:
        settings = described(size)
        held = settings.window_maps * settings.widths[0]
    batch = how.batch * prod(how.patch)
    return sums_needed(scan.size, how), 4 * (held + how.classes) * batch
