"""What segmenting scans takes in memory and on the disk, held against what there is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import torch

from simcvd.formats import files_of, read_header, spacing_of
from simcvd.inference.inputs import Job
from simcvd.inference.model import Model
from simcvd.inference.sliding_window import Windows, memory_needed
from simcvd.machine import free_memory
from simcvd.networks.build import described
from simcvd.types import IntTriple, SimcvdError, Volume

UNKNOWN_NETWORK = 5 * 16  # numbers a voxel that a network is taken to hold: the V-Net's
# Bytes a voxel of a compressed mask with little in it: LA's and hippocampus's take 6 to 15 times.
MASK = 0.002
# No scan has so many voxels for a byte of its files, and no mask takes a byte a voxel.
ROOMY = 50


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
            f"{' x '.join(f'{want:g}' for want in wanted)} mm. That takes {need / 1e9:.3g} GB, and "
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
    return int(scan.array.nbytes) + _of_windows(model, scan, how) + 2 * prod(shape)


def fitted(model: Model, scan: Volume, shape: IntTriple, how: Windows) -> Windows:
    """``how`` with as many windows a batch as fit into the free memory.

    The scan itself is in memory already and so counts as there. Raises SimcvdError if one
    window at a time is still too much.
    """
    device = torch.device(how.device)
    free = free_memory(str(device) if device.type == "cuda" else "cpu")
    extra = 2 * prod(shape) if device.type != "cuda" else 0
    while (need := _of_windows(model, scan, how) + extra) > free:
        if how.batch == 1:
            raise SimcvdError(
                f"segmenting it needs {need / 1e9:.1f} GB of memory beyond the scan's own, but "
                f"{free / 1e9:.1f} GB are free on {device}; close other programs, take a machine "
                "with more memory, or cut the scan to the part of interest"
            )
        how = replace(how, windows_per_batch=how.batch // 2)
    return how


def _of_windows(model: Model, scan: Volume, how: Windows) -> int:
    x, y, z = scan.array.shape[-3:]
    size = model.spec.network
    held = UNKNOWN_NETWORK
    if "factory" not in size:
        settings = described(size)
        held = settings.window_maps * settings.widths[0]
    network = 4 * held * how.batch * prod(how.patch)
    return memory_needed((x, y, z), how) + network
