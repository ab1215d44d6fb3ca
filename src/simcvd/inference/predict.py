"""Segment scans with a trained model, each in its own geometry and with its own label values."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from rich.console import Console

from simcvd.escape import one_line
from simcvd.inference.average import load_models
from simcvd.inference.bars import Start, bars
from simcvd.inference.compute import Compute, Runtime, pick_device
from simcvd.inference.inputs import Job, jobs
from simcvd.inference.memory import refuse_full_disk
from simcvd.inference.model import Model, digest_of
from simcvd.inference.openvino import in_runtime
from simcvd.inference.results import Results, Standing
from simcvd.inference.scan import Opened, Wanted, open_job, predict_job
from simcvd.inference.sliding_window import Advance
from simcvd.inference.table import removed
from simcvd.layouts.accounts import summary
from simcvd.networks.autocast import Precision
from simcvd.networks.build import Factory
from simcvd.types import DoneInPart, IntTriple, SimcvdError
from simcvd.wording import few
from simcvd.workers.processes import ahead, in_parallel, one_at_a_time, own_device, shared_out

KEPT: tuple[Standing, ...] = ("done", "corrected")
WHY_KEPT: dict[Standing, str] = {
    "corrected": "changed since written: kept as they are; move one away to segment it again",
    "unknown": "were there already: kept as they are; move one away to segment it",
}


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
    processes: int | None = None,
    runtime: Runtime = "torch",
) -> list[Path]:
    """Segment every input into ``out``, in the input's own grid, orientation and format.

    model_path: a finished run, or several whose probabilities are averaged. inputs: files, or
    folders of which every readable scan is taken. format: None for each scan's own (a DICOM
    series gives a DICOM segmentation), else one of `answers`. flip: axes, of x, y
    and z, along which windows are flipped too, the results averaged. stride, fast: how
    windows stand; see `Compute`. network: as `load_model` takes it. processes: None for this one
    alone, unless the call is in a block of `on_workers`; with several, each GPU is taken by as many
    of them as any other. runtime: see `Compute`; with OpenVINO ``auto`` is the CPU.

    ``out/predictions.csv`` gives each scan's confidence and volumes in ml, those of earlier calls
    too. Every file is written whole or not at all. The same call again goes on where it stopped; a
    segmentation that was corrected by hand is kept. A scan that cannot be segmented does not stop
    the others; when they are done, SimcvdError (DoneInPart, where any was segmented) names all that
    failed and why.
    """
    out, wanted, console = Path(out), wanted or Wanted(), console or Console(stderr=True)
    paths = [model_path] if isinstance(model_path, str | Path) else model_path
    apart = shared_out(processes)  # then it is the others that take to a device
    if runtime != "torch" and device == "auto":
        device = "cpu"
    compute = Compute(
        device="cpu" if apart else pick_device(device),
        precision=precision,
        windows_per_batch=windows_per_batch,
        stride=stride,
        fast=fast,
        processes=processes or 1,
        runtime=runtime,
    )
    model = load_models(paths, flip=flip, device=compute.device, network=network)
    todo = jobs(inputs, out, channels=model.spec.channels, wanted=format)
    made = todo.jobs
    _make_folder(out)
    maps = model.spec.classes * wanted.probabilities + wanted.entropy
    refuse_full_disk(out, made, maps)
    if todo.files:
        _say(console, summary(todo.files))
    digests = tuple(map(digest_of, paths))
    recipe = [digests, flip, stride, fast, precision, *[runtime] * (runtime != "torch")]
    results = Results(out=out, spec=model.spec, recipe=recipe, maps=wanted.names())
    results.check()
    if said := removed(model.spec):
        _say(console, said)
    try:
        if apart:
            each = Segmenting(
                *(tuple(map(Path, paths)), digests, flip, device, compute, results, wanted),
                network=network,
            )
            problems = list(segment_apart(each, made, processes, console))
        else:
            with bars(console) as start:
                model = in_runtime(model, compute)
                problems = list(segment_each(model, made, results, compute, wanted, start, console))
    finally:
        results.join()
    refuse_failed(problems, out)
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
    keep: Container[Standing] = KEPT,
) -> Iterator[str]:
    """Segment the scans one by one; yields after each what was wrong with it, or "".

    keep: which of the files that are there are left as they are. Those that are not of this very
    call are named at the end. While a GPU works on a scan, the next one is read.
    """
    todo: list[Job] = []
    kept: dict[Standing, list[str]] = {}
    for job in made:
        standing = results.standing(job)
        if standing not in keep:
            todo.append(job)
            continue
        kept.setdefault(standing, []).append(job.target.name)
        yield ""
    on_gpu = torch.device(compute.device).type != "cpu"
    for job, opened in ahead(partial(open_job, model), todo, eager=on_gpu):
        yield _problem_of(model, job, results, compute, wanted, start, opened)
    _say_kept(kept, results.out, console)


@dataclass(frozen=True)
class Segmenting:
    """What a process needs to segment any of a call's scans; as a function it segments one.

    models, digests, flip: as `load_models` takes them, and what the models were when the call
    began. network: as `load_model` takes it. device: as `pick_device` takes it, there. Others as of
    `segment_each`.
    """

    models: tuple[Path, ...]
    digests: tuple[str, ...]
    flip: str
    device: str
    compute: Compute
    results: Results
    wanted: Wanted
    keep: tuple[Standing, ...] = KEPT
    network: Factory | str | None = None

    def __call__(self, job: Job) -> tuple[Job, Standing, str]:
        """The scan again, how far it was, and what was wrong with it, "" for nothing."""
        standing = self.results.standing(job)
        if standing in self.keep:
            return job, standing, ""
        device = pick_device(own_device(self.device))
        compute = replace(self.compute, device=device)
        with one_at_a_time:
            model = _loaded(self.models, self.digests, self.flip, compute, self.network)  # type: ignore[arg-type]
            problem = _problem_of(model, job, self.results, compute, self.wanted, no_bar)
        return job, standing, problem


def segment_apart(
    each: Segmenting, made: Sequence[Job], processes: int | None, console: Console
) -> Iterator[str]:
    """As `segment_each`, in processes or on a cluster; in the order in which they are ready."""
    quiet = not console.is_terminal
    kept: dict[Standing, list[str]] = {}
    for job, standing, problem in in_parallel(each, made, processes, "segmenting", quiet):
        if standing in each.keep:
            kept.setdefault(standing, []).append(job.target.name)
        yield problem
    _say_kept(kept, each.results.out, console)


@lru_cache(1)
def _loaded(
    models: tuple[Path, ...],
    digests: tuple[str, ...],
    flip: str,
    compute: Compute,
    network: Factory | str | None,
) -> Model:
    """A process loads them once. Raises SimcvdError where they are no longer what they were."""
    for path, digest in zip(models, digests, strict=True):
        if digest_of(path) != digest:
            raise SimcvdError(f"{path}: was replaced meanwhile; re-run the same command")
    model = load_models(models, flip=flip, device=compute.device, network=network)
    return in_runtime(model, compute)


def _say_kept(kept: Mapping[Standing, Sequence[str]], out: Path, console: Console) -> None:
    for standing in sorted(kept.keys() & WHY_KEPT):
        _say(console, f"{out}: {few(sorted(kept[standing]))} {WHY_KEPT[standing]}")


def _say(console: Console, text: str) -> None:
    console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)


def no_bar(text: str, windows: int) -> Advance:
    """One bar counts the scans; those of a scan's windows are not shown."""
    return lambda done: None


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
    model: Model,
    job: Job,
    results: Results,
    compute: Compute,
    wanted: Wanted,
    start: Start,
    opened: Callable[[], Opened] | None = None,
) -> str:
    """Segment one scan; what was wrong with it, or ""."""
    try:
        with results.writing(job):
            row = predict_job(model, job, compute, wanted, start, opened)
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


def _one_failure(path: Path, message: str) -> str:
    return message if str(path) in message else f"{path}: {message}"
