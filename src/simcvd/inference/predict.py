"""Segment scans with a trained model, each in its own geometry and with its own label values."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from simcvd.data.crop import Box, crop_box, cropped, grid_of_box
from simcvd.data.objects import keep_largest
from simcvd.data.preprocess import to_network
from simcvd.data.reading import read_channels
from simcvd.escape import one_line
from simcvd.formats.table import writer_of
from simcvd.inference.average import load_models
from simcvd.inference.bars import Start, bars
from simcvd.inference.geometry import Part, parts_in_source
from simcvd.inference.inputs import Job, jobs
from simcvd.inference.maps import SourceMaps, map_file
from simcvd.inference.memory import fitted, needed, refuse_full_disk, refuse_grid
from simcvd.inference.model import Model, digest_of
from simcvd.inference.results import Results, Standing
from simcvd.inference.sliding_window import Advance, Windows, finished_blocks, grid_of
from simcvd.inference.table import Row, removed, row_of
from simcvd.layouts.accounts import summary
from simcvd.machine import reuse_memory
from simcvd.naming import inside
from simcvd.networks.autocast import Precision, autocast_dtype
from simcvd.networks.build import Factory
from simcvd.torch_state import left_as_found
from simcvd.types import DoneInPart, IntTriple, SimcvdError, Volume
from simcvd.wording import few

# A scan that needs fewer bytes may as well peak some 40 % higher, and takes a quarter less time.
KEPT_BELOW = 10**9
WHY_KEPT: dict[Standing, str] = {
    "corrected": "changed since written: kept as they are; move one away to segment it again",
    "unknown": "were there already: kept as they are; move one away to segment it",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how the network runs; fields as in `Windows`.

    precision: "auto" is bfloat16 where the device computes in it.
    stride: windows at its exact multiples that all weigh alike, as protocols are scored. None
    takes the model's, with tapered windows, which err less (docs/speed.md).
    fast: few windows, tapered too, three quarters of a patch apart; not with a stride, else
    SimcvdError.
    """

    device: torch.device | str = "cpu"
    precision: Precision = "auto"
    windows_per_batch: int | None = None
    stride: IntTriple | None = None
    fast: bool = False

    def __post_init__(self) -> None:
        if self.fast and self.stride is not None:
            raise SimcvdError("--fast chooses the stride itself; give either --fast or --stride")

    def windows(self, model: Model) -> Windows:
        """The model's sliding window, run this way."""
        x, y, z = model.spec.patch
        apart = max(3 * x // 4, 1), max(3 * y // 4, 1), max(3 * z // 4, 1)
        return Windows(
            patch=model.spec.patch,
            stride=apart if self.fast else self.stride or model.spec.stride,
            classes=model.spec.classes,
            windows_per_batch=self.windows_per_batch,
            device=self.device,
            autocast=autocast_dtype(self.precision, torch.device(self.device)),
            tapered=self.stride is None,
        )


def pick_device(device: str = "auto") -> torch.device:
    """``auto`` is the GPU if there is one, else the CPU; anything else is taken as it is."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise SimcvdError(f"device '{device}' cannot be used ({error}); try cpu or cuda") from error


@left_as_found()
def predict_scan(model: Model, volume: Volume, compute: Compute | None = None) -> np.ndarray:
    """Label values ``[X, Y, Z]`` of one scan, in the grid and orientation of ``volume``.

    The values are those of the user's label files (``spec.label_values``). Raises SimcvdError
    if the scan's channels are not the model's.
    """
    compute = compute or Compute()
    box = _box(model, volume)
    scan = to_network(cropped(volume, box), model.spec.preprocessing)
    shape, affine = _grid(volume)
    maps = SourceMaps(shape, box)
    maps.fill(_parts(model, scan, box, affine, compute.windows(model)))
    keep_largest(maps.labels, model.spec.largest_only)
    return restore_values(maps.labels, model.spec.label_values)


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


def predict_files(
    model_path: Path | str | Sequence[Path | str],
    inputs: Sequence[Path],
    out: Path,
    *,
    format: str | None = None,
    wanted: Wanted | None = None,
    flip: str = "",
    stride: IntTriple | None = None,
    fast: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    windows_per_batch: int | None = None,
    network: Factory | str | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Segment every input into ``out``, in the input's own grid, orientation and format.

    model_path: a finished run, or several whose probabilities are averaged. inputs: files, or
    folders of which every readable scan is taken. format: None for each scan's own (a DICOM
    series gives a DICOM segmentation), else nifti, nrrd, mha or dicom-seg. flip: axes, of x, y
    and z, along which windows are flipped too, the results averaged. stride, fast: how
    windows stand; see `Compute`. network: as `load_model` takes it.

    ``out/predictions.csv`` gives each scan's confidence and volumes in ml, those of earlier calls
    too. Every file is written whole or not at all. The same call again goes on where it stopped; a
    segmentation that was corrected by hand is kept. A scan that cannot be segmented does not stop
    the others; when they are done, SimcvdError (DoneInPart, where any was segmented) names all that
    failed and why.
    """
    where, out = pick_device(device), Path(out)
    paths = [model_path] if isinstance(model_path, str | Path) else model_path
    compute = Compute(
        device=where,
        precision=precision,
        windows_per_batch=windows_per_batch,
        stride=stride,
        fast=fast,
    )
    model = load_models(paths, flip=flip, device=where, network=network)
    todo = jobs(inputs, out, channels=model.spec.channels, wanted=format)
    made = todo.jobs
    _make_folder(out)
    wanted, console = wanted or Wanted(), console or Console(stderr=True)
    maps = model.spec.classes * wanted.probabilities + wanted.entropy
    refuse_full_disk(out, made, maps)
    if todo.files:
        console.print(one_line(summary(todo.files)), markup=False, highlight=False, soft_wrap=True)
    recipe = [[digest_of(path) for path in paths], flip, stride, fast, precision]
    results = Results(out=out, spec=model.spec, recipe=recipe, maps=wanted.names())
    results.check()
    if said := removed(model.spec):
        console.print(one_line(said), markup=False, highlight=False, soft_wrap=True)
    with bars(console) as start:
        refuse_failed(
            list(segment_each(model, made, results, compute, wanted, start, console)), out
        )
    return [job.target for job in made]


def segment_each(
    model: Model,
    made: Sequence[Job],
    results: Results,
    compute: Compute,
    wanted: Wanted,
    start: Start,
    console: Console,
    *,
    keep: Container[Standing] = ("done", "corrected"),
) -> Iterator[str]:
    """Segment the scans one by one; yields after each what was wrong with it, or "".

    keep: which of the files that are there are left as they are. Those that are not of this very
    call are named at the end.
    """
    kept: dict[Standing, list[str]] = {}
    for job in made:
        standing = results.standing(job)
        if standing not in keep:
            yield _problem_of(model, job, results, compute, wanted, start)
            continue
        kept.setdefault(standing, []).append(job.target.name)
        yield ""
    for standing in sorted(kept.keys() & WHY_KEPT):
        said = f"{results.out}: {few(kept[standing])} {WHY_KEPT[standing]}"
        console.print(one_line(said), markup=False, highlight=False, soft_wrap=True)


def refuse_failed(problems: Sequence[str], out: Path) -> None:
    """Raise SimcvdError if scans failed; DoneInPart if not all of them did."""
    failed = [problem for problem in problems if problem]
    if failed:
        some = len(failed) < len(problems)
        raise (DoneInPart if some else SimcvdError)(
            f"{len(failed)} of {len(problems)} scans could not be segmented"
            f"{f'; the others are in {out}' if some else ''}\n  " + "\n  ".join(failed)
        )


def _problem_of(
    model: Model, job: Job, results: Results, compute: Compute, wanted: Wanted, start: Start
) -> str:
    """Segment one scan; what was wrong with it, or ""."""
    try:
        with results.writing(job):
            row = predict_job(model, job, compute, wanted, start)
        results.add(row)
    except SimcvdError as error:
        return _one_failure(job.path, str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        return _one_failure(job.path, f"{error}; try fewer windows a batch")
    except Exception as error:  # nothing in one scan, foreseen or not, may stop the others
        return _one_failure(job.path, f"{type(error).__name__}: {error}")
    return ""


def _make_folder(out: Path) -> None:
    """Made before the first window runs, so that a mistyped --out costs no hours."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SimcvdError(f"{out}: cannot be made ({error}); give another --out") from error


@left_as_found()
def predict_job(model: Model, job: Job, compute: Compute, wanted: Wanted, start: Start) -> Row:
    """Read, segment and write one scan; the source's voxels are dropped before the windows run."""
    write = writer_of(job.format, job.path)
    volume = read_channels(job.images, model.spec.channels)
    shape, affine = _grid(volume)
    box = _box(model, volume)
    refuse_grid(model, volume)
    scan = to_network(cropped(volume, box), model.spec.preprocessing)
    del volume
    how = fitted(model, scan, shape, compute.windows(model))
    need = needed(model, scan, shape, how)
    reuse_memory(need < KEPT_BELOW and torch.device(how.device).type == "cpu")
    patch = model.spec.patch
    small = any(n < p for n, p in zip(_sizes(scan), patch, strict=True))
    filled = f", filled up with 0 to the patch of {_by(patch)}" if small else ""
    text = f"{job.name}: {_by(_sizes(scan))} voxels{filled}, needs {_gb(need)}"
    advance = start(text, grid_of(_sizes(scan), how).count)
    with _maps(job, shape, affine, model.spec.classes, wanted) as (probabilities, entropy):
        maps = SourceMaps(shape, box, probabilities, entropy)
        maps.fill(_parts(model, scan, box, affine, how, advance))
        keep_largest(maps.labels, model.spec.largest_only)
        labels = restore_values(maps.labels, model.spec.label_values)
        names = {v: model.spec.class_names[k] for k, v in model.spec.label_values.items()}
        write(job.target, labels, affine, names)
    voxel = abs(np.linalg.det(affine[:3, :3])) / 1000
    return row_of(job, model.spec, maps.labels, voxel, maps.confidence, scan.array)


@contextmanager
def _maps(
    job: Job, shape: IntTriple, affine: np.ndarray, classes: int, wanted: Wanted
) -> Iterator[tuple[np.ndarray | None, np.ndarray | None]]:
    """Files of the maps that are wanted, to be filled; written when the block ends well."""
    with ExitStack() as stack:

        def map_of(kind: str, size: tuple[int, ...], top: float) -> np.ndarray:
            path = inside(job.target.parent / kind, job.name, ".nii.gz")
            return stack.enter_context(map_file(path, size, top, affine, like=job.path))

        probabilities = entropy = None
        if wanted.probabilities:
            probabilities = map_of("probabilities", (*shape, classes), 1.0)
        if wanted.entropy:
            entropy = map_of("entropy", shape, float(np.log(classes)))
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
    model: Model,
    scan: Volume,
    box: Box,
    affine: np.ndarray,
    how: Windows,
    advance: Advance | None = None,
) -> Iterator[Part]:
    """Class probabilities in the box of the source's grid, as they are finished."""
    shape, affine = grid_of_box(box, affine)
    blocks = finished_blocks(model.folded, torch.from_numpy(scan.array), how, advance)
    axis = grid_of(_sizes(scan), how).order[0]
    return parts_in_source(blocks, axis, scan, shape, affine)


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


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _one_failure(path: Path, message: str) -> str:
    return message if str(path) in message else f"{path}: {message}"
