"""Every scan of a data set segmented with one model, going on where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from simcvd.escape import one_line
from simcvd.formats.table import best_writer
from simcvd.inference.inputs import Job
from simcvd.inference.model import WEIGHTS, digest_of, load_model
from simcvd.inference.predict import Compute, Wanted, pick_device, refuse_failed, segment_each
from simcvd.inference.results import Results, Standing
from simcvd.inference.sliding_window import Advance
from simcvd.layouts.records import SourceCase
from simcvd.naming import inside
from simcvd.wording import few

KEPT: tuple[Standing, ...] = ("done", "corrected", "unknown")


def segment_all(
    folder: Path, cases: Sequence[SourceCase], out: Path, console: Console
) -> list[Path]:
    """Segment every case into ``out``, in its own grid and format; what is there is kept.

    What another model left in ``out`` is segmented anew, but for what was corrected by hand or
    lies there unaccounted for: that is named and never removed. A scan that cannot be segmented
    does not stop the others; when they are done, DoneInPart names all that failed and why.
    """
    compute = Compute(device=pick_device())
    model = load_model(folder, device=compute.device)
    made, _ = jobs_of(cases, out)
    results = Results(out=out, spec=model.spec, recipe=[digest_of(folder)])
    results.check()
    ours = _noted_before(out, folder)
    jobs = [job for job in made if not (ours and results.standing(job) == "unknown")]
    problems = segment_each(model, jobs, results, compute, Wanted(), _no_bar, console, keep=KEPT)
    bar = track(problems, "segmenting", total=len(jobs), console=console, transient=True)
    refuse_failed(list(bar), out)
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


def _no_bar(text: str, windows: int) -> Advance:
    """One bar counts the scans; those of a scan's windows are not shown."""
    return lambda done: None


def _noted_before(out: Path, folder: Path) -> bool:
    """Whether an earlier version, which kept no record of files, noted this very model."""
    note = out / ".model"
    if not note.exists():
        return False
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    return note.read_text(encoding="utf-8") == digest
