"""What segmenting a scan takes in memory, held against what there is."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch

from simcvd.formats import spacing_of
from simcvd.inference.model import Model
from simcvd.inference.sliding_window import Windows, memory_needed
from simcvd.machine import free_memory
from simcvd.networks.build import described
from simcvd.types import IntTriple, SimcvdError, Volume

UNKNOWN_NETWORK = 5 * 16  # numbers a voxel that a network is taken to hold: the V-Net's


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
