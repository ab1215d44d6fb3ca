"""Every scan of a data set segmented with one model, going on where it stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from simcvd.data.io import NIFTI, suffix_of, write_label
from simcvd.data.listing import SourceCase
from simcvd.data.reading import read_channels
from simcvd.files import write_text
from simcvd.inference.model import WEIGHTS, Model, load_model
from simcvd.inference.predict import Compute, pick_device, predict_scan
from simcvd.networks.autocast import autocast_dtype
from simcvd.types import IntTriple, SimcvdError


def segment_all(
    folder: Path, cases: Sequence[SourceCase], out: Path, stride: IntTriple, console: Console
) -> list[Path]:
    """Write ``out/<case>.nii.gz`` for every case, in its own grid; what is there is kept.

    What another model left in ``out`` is removed first. A scan that cannot be segmented does not
    stop the others; when they are done, SimcvdError names all that failed and why.
    """
    device = pick_device()
    model = load_model(folder, device=device)
    model = dataclasses.replace(model, spec=dataclasses.replace(model.spec, stride=stride))
    compute = Compute(device=device, autocast=autocast_dtype("auto", device))
    _begin(out, folder)
    targets = {case.name: out / f"{case.name}.nii.gz" for case in cases}
    todo = [case for case in cases if not targets[case.name].exists()]
    failed = []
    for case in track(todo, "segmenting", console=console, transient=True):
        try:
            _segment(model, case, targets[case.name], compute)
        except (SimcvdError, MemoryError) as error:
            failed.append(f"{case.name}: {error}")
    if failed:
        raise SimcvdError(
            f"{len(failed)} of {len(cases)} scans could not be segmented; the others are in "
            f"{out}\n  " + "\n  ".join(failed)
        )
    return list(targets.values())


def _segment(model: Model, case: SourceCase, target: Path, compute: Compute) -> None:
    volume = read_channels(case.images, model.spec.channels)
    labels = predict_scan(model, volume, compute)
    first = case.images[0]
    like = first if suffix_of(first) in NIFTI else None
    write_label(target, labels, volume.affine, like=like)


def _begin(out: Path, folder: Path) -> None:
    """Note which model the segmentations are of, once those of another one are gone."""
    note = out / ".model"
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    if note.exists() and note.read_text(encoding="utf-8") == digest:
        return
    if out.exists():
        shutil.rmtree(out)
    write_text(note, digest)
