"""Segment scans with a trained model, each in its own geometry and with its own label values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from simcvd.data.crop import Box, crop_box, cropped, grid_of_box, pasted
from simcvd.data.io import NIFTI, read_image, stem_of, suffix_of, write_label
from simcvd.data.pairing import find_scans
from simcvd.data.preprocess import to_network
from simcvd.inference.geometry import labels_in_source, same_grid, turn_back
from simcvd.inference.model import Model, load_model
from simcvd.inference.sliding_window import (
    Advance,
    Windows,
    finished_blocks,
    grid_of,
    labels_of,
    memory_needed,
)
from simcvd.networks.autocast import Precision, autocast_dtype
from simcvd.types import IntTriple, SimcvdError, Volume

# Full-resolution maps a V-Net holds at once, measured: its skip and what its first stage works on.
NETWORK_MAPS = 5
Start = Callable[[str, int], Advance]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how the network runs; fields as in `Windows`."""

    device: torch.device | str = "cpu"
    autocast: torch.dtype | None = None
    windows_per_batch: int | None = None

    def windows(self, model: Model) -> Windows:
        """The model's sliding window, run this way."""
        spec, own = model.spec, dataclasses.asdict(self)
        return Windows(patch=spec.patch, stride=spec.stride, classes=spec.classes, **own)


def pick_device(device: str = "auto") -> torch.device:
    """``auto`` is the GPU if there is one, else the CPU; anything else is taken as it is."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise SimcvdError(f"device '{device}' cannot be used ({error}); try cpu or cuda") from error


def predict_scan(model: Model, volume: Volume, compute: Compute | None = None) -> np.ndarray:
    """Label values ``[X, Y, Z]`` of one scan, in the grid and orientation of ``volume``.

    The values are those of the user's label files (``spec.label_values``). Raises SimcvdError
    if the scan's channels are not the model's.
    """
    compute = compute or Compute()
    box = _box(model, volume)
    scan = to_network(cropped(volume, box), model.spec.preprocessing)
    shape, affine = _grid(volume)
    return _segment(model, scan, box, shape, affine, compute.windows(model), None)


def predict_files(
    model_path: Path | str,
    inputs: Sequence[Path],
    out: Path,
    *,
    stride: IntTriple | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    windows_per_batch: int | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Segment every input into ``out/<name>.nii.gz``, shape and affine as the input has them.

    inputs: files, or folders of which every readable scan is taken. stride: voxels between
    windows; None takes the model's. A file is written whole or not at all. A scan that cannot
    be segmented does not stop the others; when they are done, SimcvdError names all that failed
    and why.
    """
    where = pick_device(device)
    model = load_model(model_path, device=where)
    if stride is not None:
        model = dataclasses.replace(model, spec=dataclasses.replace(model.spec, stride=stride))
    targets = output_names(_scans(inputs, Path(out)), Path(out))
    _make_folder(Path(out))
    dtype = autocast_dtype(precision, where)
    compute = Compute(device=where, autocast=dtype, windows_per_batch=windows_per_batch)
    failed = []
    with _bars(console or Console(stderr=True)) as start:
        for path, target in targets.items():
            try:
                _predict_file(model, path, target, compute, start)
            except SimcvdError as error:
                failed.append(_one_failure(path, str(error)))
            except (MemoryError, torch.OutOfMemoryError) as error:
                failed.append(_one_failure(path, f"{error}; try fewer windows a batch"))
    if failed:
        raise SimcvdError(
            f"{len(failed)} of {len(targets)} scans could not be segmented; the others are in "
            f"{out}\n  " + "\n  ".join(failed)
        )
    return list(targets.values())


def output_names(scans: Sequence[Path], out: Path) -> dict[Path, Path]:
    """The file each scan's segmentation goes to; refuses to write two, or an input, to one."""
    taken: dict[Path, Path] = {}
    for path in scans:
        target = out / f"{stem_of(path)}.nii.gz"
        if target in taken:
            raise SimcvdError(
                f"{taken[target]} and {path} would both be written to {target}; "
                "rename one, or predict them into two folders"
            )
        if target.resolve() == path.resolve():
            raise SimcvdError(f"{path}: its segmentation would overwrite it; give another --out")
        taken[target] = path
    return {path: target for target, path in taken.items()}


def _make_folder(out: Path) -> None:
    """Made before the first window runs, so that a mistyped --out costs no hours."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SimcvdError(f"{out}: cannot be made ({error}); give another --out") from error


def _scans(inputs: Sequence[Path], out: Path) -> list[Path]:
    """The inputs, each folder replaced by the scans below it, DICOM series among them.

    What lies in ``out`` is an earlier result and no scan.
    """
    scans: list[Path] = []
    for path in map(Path, inputs):
        scans += [f for f in _scans_below(path, out) if f not in scans]
    if not scans:
        raise SimcvdError("no scan was given; name at least one file or folder")
    return scans


def _scans_below(path: Path, out: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found, _, problems = find_scans(path, apart_from=out)
    if problems:
        raise SimcvdError("\n  ".join([f"{path}: not every file can be read", *problems]))
    if not found:
        raise SimcvdError(f"{path}: no scan in this folder; give scans or a folder of scans")
    return [scan.path for scan in found]


def _predict_file(model: Model, path: Path, target: Path, compute: Compute, start: Start) -> None:
    """Read, segment and write one scan; the source's voxels are dropped before the windows run."""
    volume = read_image(path, channels=model.spec.channels)
    shape, affine = _grid(volume)
    box = _box(model, volume)
    scan = to_network(cropped(volume, box), model.spec.preprocessing)
    del volume
    how = compute.windows(model)
    size = _sizes(scan)
    need = _need(model, scan, shape, how)
    text = f"{path.name}: {_by(size)} voxels, needs {need / 1e9:.1f} GB"
    advance = start(text, grid_of(size, how).count)
    labels = _segment(model, scan, box, shape, affine, how, advance)
    write_label(target, labels, affine, like=path if suffix_of(path) in NIFTI else None)


def _need(model: Model, scan: Volume, shape: IntTriple, how: Windows) -> int:
    """Bytes that segmenting takes at its peak: scan, sums of windows, network, result."""
    width = int(model.spec.network.get("widths", (16,))[0])
    network = 4 * NETWORK_MAPS * width * how.batch * prod(how.patch)
    return int(scan.array.nbytes) + memory_needed(_sizes(scan), how) + network + 2 * prod(shape)


def _box(model: Model, volume: Volume) -> Box:
    """The part of a scan that the model was made for; without a crop, all of it."""
    found, wanted = len(volume.array), model.spec.channels
    if volume.array.ndim != 4 or found != wanted:
        raise SimcvdError(
            f"the scan is an array of shape {volume.array.shape}, but the model needs "
            f"[{wanted}, X, Y, Z], {wanted} channel(s) as it was trained with"
        )
    return crop_box(volume, model.spec.preprocessing)


def _segment(
    model: Model,
    scan: Volume,
    box: Box,
    whole: IntTriple,
    affine: np.ndarray,
    how: Windows,
    advance: Advance | None,
) -> np.ndarray:
    """Label values on the source's grid, background outside the box.

    Without resampling no probability leaves its slab.
    """
    shape, affine = grid_of_box(box, affine)
    blocks = finished_blocks(model.network, torch.from_numpy(scan.array), how, advance)
    size = _sizes(scan)
    if same_grid(scan, shape, affine):
        labels = turn_back(labels_of(blocks, size).numpy(), affine)
    else:
        labels = labels_in_source(blocks, grid_of(size, how).order[0], scan, shape, affine)
    values = model.spec.label_values
    return pasted(restore_values(labels, values), box, whole, values[0])


def restore_values(labels: np.ndarray, values: dict[int, int]) -> np.ndarray:
    """Class indices turned into the values of the user's files, in the smallest fitting type."""
    table = np.array([values[index] for index in range(len(values))])
    types = [np.dtype(t) for t in (np.uint8, np.int16, np.int32)]
    small = (t for t in types if (table.astype(t) == table).all())
    restored: np.ndarray = table.astype(next(small, table.dtype))[labels]
    return restored


def _grid(volume: Volume) -> tuple[IntTriple, np.ndarray]:
    return _sizes(volume), volume.affine


def _sizes(volume: Volume) -> IntTriple:
    x, y, z = volume.array.shape[-3:]
    return x, y, z


def _by(size: IntTriple) -> str:
    return " x ".join(map(str, size))


def _one_failure(path: Path, message: str) -> str:
    return message if str(path) in message else f"{path}: {message}"


@contextmanager
def _bars(console: Console) -> Iterator[Start]:
    """Gives a function that begins a scan's bar: ``start(text, windows) -> advance``."""
    with Progress(*Progress.get_default_columns(), console=console) as progress:

        def start(text: str, windows: int) -> Advance:
            task = progress.add_task(text, total=windows)
            return lambda done: progress.update(task, advance=done)

        yield start
