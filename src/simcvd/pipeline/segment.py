"""Every scan of a data set segmented with one model, going on where it stopped."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from simcvd.files import write_text
from simcvd.formats import answer_for
from simcvd.inference.inputs import Job
from simcvd.inference.model import WEIGHTS, load_model
from simcvd.inference.predict import Compute, Wanted, pick_device, predict_job
from simcvd.inference.sliding_window import Advance
from simcvd.layouts.records import SourceCase
from simcvd.naming import inside
from simcvd.types import SimcvdError


def segment_all(
    folder: Path, cases: Sequence[SourceCase], out: Path, console: Console
) -> list[Path]:
    """Segment every case into ``out``, in its own grid and format; what is there is kept.

    What another model left in ``out`` is removed first. A scan that cannot be segmented does not
    stop the others; when they are done, SimcvdError names all that failed and why.
    """
    compute = Compute(device=pick_device())
    model = load_model(folder, device=compute.device)
    _begin(out, folder)
    jobs = [_job(case, out) for case in cases]
    missing = [job for job in jobs if not job.target.exists()]
    failed = []
    for job in track(missing, "segmenting", console=console, transient=True):
        try:
            predict_job(model, job, compute, Wanted(), _no_bar)
        except (SimcvdError, MemoryError) as error:
            failed.append(f"{job.name}: {error}")
    if failed:
        raise SimcvdError(
            f"{len(failed)} of {len(cases)} scans could not be segmented; the others are in "
            f"{out}\n  " + "\n  ".join(failed)
        )
    return [job.target for job in jobs]


def _job(case: SourceCase, out: Path) -> Job:
    kind = answer_for(case.images[0])
    target = inside(out, f"{case.name}{kind.ending}")
    return Job(name=case.name, images=case.images, target=target, format=kind)


def _no_bar(text: str, windows: int) -> Advance:
    """One bar counts the scans; those of a scan's windows are not shown."""
    return lambda done: None


def _begin(out: Path, folder: Path) -> None:
    """Note which model the segmentations are of, once those of another one are gone."""
    note = out / ".model"
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    if note.exists() and note.read_text(encoding="utf-8") == digest:
        return
    if out.exists():
        shutil.rmtree(out)
    write_text(note, digest)
