"""One scan segmented with a trained model, in its own geometry and with its own label values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from simcvd.data.crop import Box, crop_box, cropped, grid_of_box
from simcvd.data.objects import keep_largest
from simcvd.data.preprocess import to_network
from simcvd.data.reading import read_channels
from simcvd.formats.read import small
from simcvd.formats.table import writer_of
from simcvd.inference.bars import Start
from simcvd.inference.compute import Compute
from simcvd.inference.geometry import Part, parts_in_source
from simcvd.inference.inputs import Job
from simcvd.inference.maps import SourceMaps, map_file
from simcvd.inference.memory import fitted, needed, refuse_grid, sparing
from simcvd.inference.model import Model
from simcvd.inference.sliding_window import Advance, Windows, finished_blocks, grid_of
from simcvd.inference.table import Row, row_of
from simcvd.machine import reuse_memory
from simcvd.naming import inside
from simcvd.torch_state import left_as_found
from simcvd.types import IntTriple, SimcvdError, Volume
from simcvd.wording import by

# A scan that needs fewer bytes may as well peak some 40 % higher, and takes a quarter less time.
KEPT_BELOW = 10**9


@left_as_found()
def predict_scan(model: Model, volume: Volume, compute: Compute | None = None) -> np.ndarray:
    """Label values ``[X, Y, Z]`` of one scan, in the grid and orientation of ``volume``.

    The values are those of the user's label files (``spec.label_values``). Raises SimcvdError
    if the scan's channels are not the model's.
    """
    compute = compute or Compute()
    scan = _opened(model, volume)

    def labels(how: Windows) -> np.ndarray:
        maps = SourceMaps(scan.shape, scan.box)
        maps.fill(_parts(model, scan, how))
        keep_largest(maps.labels, model.spec.largest_only)
        return maps.labels

    return restore_values(sparing(compute.windows(model), labels), model.spec.label_values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to write of each scan besides its segmentation.

    probabilities: ``probabilities/<name>.nii.gz``, ``[X, Y, Z, K]`` in steps of 1/255.
    entropy: ``entropy/<name>.nii.gz``, ``[X, Y, Z]`` in nats, in steps of ln(K)/255.
    Both lie in the scan's grid and take a byte a voxel (and class) on the disk while they grow.
    """

    probabilities: bool = False
    entropy: bool = False

    def names(self) -> tuple[str, ...]:
        """The folders of what is wanted."""
        return ("probabilities",) * self.probabilities + ("entropy",) * self.entropy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """A scan that was read: what the network sees of it, and its own grid.

    network: float32 ``[C, X, Y, Z]`` on the network's grid. shape, affine: of the scan's grid.
    box: the part of it that the network sees.
    """

    network: Volume
    shape: IntTriple
    affine: np.ndarray
    box: Box


def open_job(model: Model, job: Job) -> Opened:
    """Read one scan; its own voxels are dropped. Raises SimcvdError as the readers do."""
    return _opened(model, read_channels(job.images, model.spec.channels))


@left_as_found()
def predict_job(
    model: Model,
    job: Job,
    compute: Compute,
    wanted: Wanted,
    start: Start,
    opened: Callable[[], Opened] | None = None,
) -> Row:
    """Segment and write one scan. opened: what gives it read, if not this is to read it."""
    write = writer_of(job.format, job.path)
    scan = opened() if opened else open_job(model, job)
    how = fitted(
        *(model, scan.network, scan.shape, compute.windows(model)), processes=compute.processes
    )

    def segment(how: Windows) -> Row:
        advance = start(*_title(model, job, scan, how))
        with _maps(job, scan, model.spec.classes, wanted) as (probabilities, entropy):
            maps = SourceMaps(scan.shape, scan.box, probabilities, entropy)
            maps.fill(_parts(model, scan, how, advance))
            keep_largest(maps.labels, model.spec.largest_only)
            labels = restore_values(maps.labels, model.spec.label_values)
            names = {v: model.spec.class_names[k] for k, v in model.spec.label_values.items()}
            write(job.target, labels, scan.affine, names)
        voxel = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
        return row_of(job, model.spec, maps.labels, voxel, maps.confidence, scan.network.array)

    return sparing(how, segment)


def _title(model: Model, job: Job, scan: Opened, how: Windows) -> tuple[str, int]:
    """What its bar is called, and how many windows it counts."""
    need = needed(model, scan.network, scan.shape, how)
    reuse_memory(need < KEPT_BELOW and torch.device(how.device).type == "cpu")
    patch, size = model.spec.patch, scan.network.size
    small = any(n < p for n, p in zip(size, patch, strict=True))
    filled = f", filled up with 0 to the patch of {by(patch)}" if small else ""
    text = f"{job.name}: {by(size)} voxels{filled}, needs {need / 1e9:.1f} GB"
    return text, grid_of(size, how).count


def _opened(model: Model, volume: Volume) -> Opened:
    box = _box(model, volume)
    refuse_grid(model, volume)
    network = to_network(cropped(volume, box), model.spec.preprocessing)
    return Opened(network=network, shape=volume.size, affine=volume.affine, box=box)


@contextmanager
def _maps(
    job: Job, scan: Opened, classes: int, wanted: Wanted
) -> Iterator[tuple[np.ndarray | None, np.ndarray | None]]:
    """Files of the maps that are wanted, to be filled; written when the block ends well."""
    with ExitStack() as stack:

        def map_of(kind: str, size: tuple[int, ...], top: float) -> np.ndarray:
            path = inside(job.target.parent / kind, job.name, ".nii.gz")
            return stack.enter_context(map_file(path, size, top, scan.affine, like=job.path))

        probabilities = entropy = None
        if wanted.probabilities:
            probabilities = map_of("probabilities", (*scan.shape, classes), 1.0)
        if wanted.entropy:
            entropy = map_of("entropy", scan.shape, float(np.log(classes)))
        yield probabilities, entropy


def _box(model: Model, volume: Volume) -> Box:
    """The part of a scan that the model was made for; without a crop, all of it."""
    found, wanted = len(volume.array), model.spec.channels
    if volume.array.ndim != 4 or found != wanted:
        raise SimcvdError(
            f"the scan is an array of shape {volume.array.shape}, but the model needs "
            f"[{wanted}, X, Y, Z], {wanted} channel(s) as it was trained with"
        )
    return crop_box(volume, model.spec.preprocessing)


def _parts(
    model: Model, scan: Opened, how: Windows, advance: Advance | None = None
) -> Iterator[Part]:
    """Class probabilities in the box of the source's grid, as they are finished."""
    network = scan.network
    blocks = finished_blocks(model.folded, torch.from_numpy(network.array), how, advance)
    axis = grid_of(network.size, how).order[0]
    return parts_in_source(blocks, axis, network, *grid_of_box(scan.box, scan.affine))


def restore_values(labels: np.ndarray, values: dict[int, int]) -> np.ndarray:
    """Class indices turned into the values of the user's files, in the smallest fitting type."""
    return small(np.array([values[index] for index in range(len(values))]))[labels]
