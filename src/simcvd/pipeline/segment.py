"""Every scan of a data set segmented with one model, going on where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from simcvd.escape import one_line
from simcvd.formats.table import best_writer
from simcvd.inference.compute import Compute, pick_device
from simcvd.inference.inputs import Job
from simcvd.inference.model import WEIGHTS, digest_of, load_model
from simcvd.inference.predict import (
    Segmenting,
    no_bar,
    refuse_failed,
    segment_apart,
    segment_each,
)
from simcvd.inference.results import Results, Standing
from simcvd.inference.scan import Wanted
from simcvd.layouts.records import SourceCase
from simcvd.naming import inside
from simcvd.wording import few
from simcvd.workers.processes import shared_out

KEPT: tuple[Standing, ...] = ("done", "corrected", "unknown")


def segment_all(
    folder: Path,
    cases: Sequence[SourceCase],
    out: Path,
    console: Console,
    processes: int | None = None,
) -> list[Path]:
    """Segment every case into ``out``, in its own grid and format; what is there is kept.

    What another model left in ``out`` is segmented anew, but for what was corrected by hand or
    lies there unaccounted for: that is named and never removed. A scan that cannot be segmented
    does not stop the others; when they are done, DoneInPart names all that failed and why.
    processes: as of `predict_files`.
    """
    apart = shared_out(processes)
    compute = Compute(device="cpu" if apart else pick_device(), processes=processes or 1)
    model = load_model(folder, device=compute.device)
    made, _ = jobs_of(cases, out)
    digest = digest_of(folder)
    results = Results(out=out, spec=model.spec, recipe=[digest])
    results.check()
    ours = _noted_before(out, folder)
    jobs = [job for job in made if not (ours and results.standing(job) == "unknown")]
    try:
        if apart:
            each = Segmenting(
                *((folder,), (digest,), "", "auto", compute, results, Wanted()), keep=KEPT
            )
            problems = list(segment_apart(each, jobs, processes, console))
        else:
            done = segment_each(model, jobs, results, compute, Wanted(), no_bar, console, keep=KEPT)
            problems = list(
                track(done, "segmenting", total=len(jobs), console=console, transient=True)
            )
    finally:
        results.join()
    refuse_failed(problems, out)
    return [job.target for job in made]


def jobs_of(cases: Sequence[SourceCase], out: Path) -> tuple[list[Job], list[str]]:
    """Each case with its target, and notes on those that are answered in NIfTI for want of better.

    Those are DICOM series which a DICOM segmentation cannot refer to, known before any training;
    one note for all that have one reason.
    """
    jobs: list[Job] = []
    why_not: dict[str, list[str]] = {}
    for case in cases:
        kind, _, why = best_writer(case.images[0])
        if why:
            why_not.setdefault(why, []).append(case.name)
        target = inside(out, case.name, kind.ending)
        jobs.append(Job(name=case.name, images=case.images, target=target, format=kind))
    notes = [f"{few(n)} will be segmented into NIfTI: {why}" for why, n in why_not.items()]
    return jobs, [one_line(note) for note in notes]


def _noted_before(out: Path, folder: Path) -> bool:
    """Whether an earlier version, which kept no record of files, noted this very model."""
    note = out / ".model"
    if not note.exists():
        return False
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    return note.read_text(encoding="utf-8") == digest
