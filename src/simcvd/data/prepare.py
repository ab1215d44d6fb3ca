"""`simcvd prepare`: from a folder of scans to a cache, doing only what changed.

New cases are renamed into place one by one. Cases that replace others wait beside
them until all are made; then the folders are exchanged and the manifest is written.
So at any moment, a full disk or a kill included, the manifest on disk describes whole
cases, and the next run goes on from what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from simcvd.data.cache import Cache, read_case
from simcvd.data.cases import (
    Job,
    cannot_write,
    current,
    prepare_case,
)
from simcvd.data.classes import find_classes
from simcvd.data.record import MANIFEST, CaseEntry, CaseRecord, Manifest
from simcvd.files import LOCK, contents, move, remove, sweep, write_json
from simcvd.layouts.accounts import summary
from simcvd.layouts.decathlon import CT_WINDOW
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import Source
from simcvd.locks import locked
from simcvd.naming import inside
from simcvd.preprocessing import Crop, Margin, Normalization, Preprocessing
from simcvd.types import SimcvdError, Triple
from simcvd.wording import counted
from simcvd.workers.processes import in_parallel

Infos = dict[str, CaseRecord]


def prepare(
    source: Path | str,
    out: Path | str,
    *,
    labels: Path | str | None = None,
    resample_labels: bool = False,
    names: str | None = None,
    patient: str | None = None,
    drawn: Path | None = None,
    spacing: tuple[float, ...] | None = None,
    normalization: str | None = None,
    window: tuple[float, float] | None = None,
    crop: str = "none",
    margin: Margin = (0, 0, 0),
    jobs: int | None = None,
    quiet: bool = False,
) -> Cache:
    """Recognise the scans in `source`, prepare them into the cache `out`, and open it.

    labels: folder of label maps when `source` is a plain folder of scans.
    resample_labels: read labels that lie on another grid on their scan's, instead of refusing.
    names, patient: regular expressions that find a scan's name in the paths of its files, and
    the patient in a scan's name; drawn: a folder of label maps that win over all others; see
    `simcvd.layouts.recognise.recognise`.
    spacing: one or three mm values to resample to; None keeps each scan's own.
    normalization: "none", "zscore" or "ct"; None takes the source's default.
    window: (low, high) in Hounsfield units for "ct".
    crop, margin: "none", "nonzero" or "label", and the voxels left around it; see `Preprocessing`.
    jobs: processes; None takes as many as there are processors.
    Raises SimcvdError with every problem found in any case, or when the disk is full.
    """
    source, out = Path(source), Path(out)
    found = recognise(
        source, labels, resample_labels=resample_labels, names=names, patient=patient, drawn=drawn
    )
    settings = _settings(found.preprocessing, spacing, normalization, window)
    settings = replace(settings, crop=cast(Crop, crop), margin=margin)
    found = replace(found, preprocessing=settings)
    say = _speaker(quiet)
    say(_announcement(source, found))
    with _opened(out):
        manifest, notes = _prepare(source, found, out, jobs, quiet)
    for note in [*found.notes, *notes, *_remarks(manifest)]:
        say(f"note: {note}")
    say(f"{summary(found.files)}; simcvd check lists them")
    return Cache(out)


def _prepare(
    source: Path, found: Source, out: Path, jobs: int | None, quiet: bool
) -> tuple[Manifest, list[str]]:
    try:
        classes = find_classes(found, out, jobs)
    except SimcvdError as error:
        raise SimcvdError(_listed(source, [*found.problems, str(error)])) from error
    names = dict.fromkeys((*found.train, *found.test))
    work = [_job(found, name, classes, out) for name in names if name in found.cases]
    infos: Infos = {}
    outdated = []
    for job in work:
        staged = _staged(job.folder)
        info = current(job.folder, job) or current(staged, job)
        if info:
            infos[job.case.name] = info
        else:
            outdated.append(replace(job, folder=staged) if job.folder.exists() else job)
    problems = list(found.problems)
    for result in in_parallel(prepare_case, outdated, jobs, "preparing", quiet):
        problems += result
    if problems:
        raise SimcvdError(_listed(source, problems))
    for job in outdated:
        infos[job.case.name] = read_case(job.folder)
    manifest = _manifest(source, found, classes, infos)
    with _disk(out):
        _publish(out, manifest)
    notes = [note for name in names for note in infos[name].notes]
    return manifest, notes + ([] if found.labels else [_values(infos)])


def _settings(
    default: Preprocessing,
    spacing: tuple[float, ...] | None,
    normalization: str | None,
    window: tuple[float, float] | None,
) -> Preprocessing:
    if normalization is None:
        normalization = "ct" if window else default.normalization
    if normalization == "ct" and window is None:
        window = CT_WINDOW
    # Preprocessing itself refuses a name it does not know.
    chosen = cast(Normalization, normalization)
    return Preprocessing(spacing=_three(spacing), normalization=chosen, window=window)


def _three(spacing: tuple[float, ...] | None) -> Triple | None:
    if spacing is None:
        return None
    values = tuple(float(value) for value in spacing)
    if len(values) == 1:
        return values[0], values[0], values[0]
    if len(values) != 3:
        raise SimcvdError(f"spacing needs one or three values in mm, but got {len(values)}.")
    return values[0], values[1], values[2]


def _announcement(source: Path, found: Source) -> str:
    labeled = sum(case.label is not None for case in found.cases.values())
    p = found.preprocessing
    grid = f"resampled to {p.spacing} mm" if p.spacing else "at its own resolution"
    window = f" with window {p.window}" if p.window else ""
    crops = {"none": "", "nonzero": "cropped to what is not background; "}
    crop = crops.get(p.crop, "cropped by their own ground truth; ")
    return (
        f"{source}: {found.description}.\n{len(found.train)} training and {len(found.test)} test "
        f"scans, {labeled} of {len(found.cases)} with a label; {crop}{grid}, "
        f"normalisation '{p.normalization}'{window}."
    )


def _remarks(manifest: Manifest) -> list[str]:
    remarks = []
    spacings = np.array([entry.spacing for entry in manifest.cases.values()])
    if (np.ptp(spacings, axis=0) > 0.01 * spacings.min(axis=0)).any():
        remarks.append(
            f"voxel sizes differ between scans, from {tuple(spacings.min(axis=0).round(3))} to "
            f"{tuple(spacings.max(axis=0).round(3))} mm; give --spacing to make them one"
        )
    if missing := [name for name in manifest.test if not manifest.cases[name].has_label]:
        remarks.append(f"{len(missing)} test scans have no label and cannot be scored")
    return remarks


def _values(infos: Infos) -> str:
    """Which values the labels were found to hold: a stray one would be taken for a class."""
    labels = [info.label_found for info in infos.values() if info.label_found is not None]
    values = sorted({value for label in labels for value in label} - {0})
    each = ", ".join(f"{v} (in {sum(v in label for label in labels)})" for v in values)
    return f"the values found in {len(labels)} labels are the classes: {each}"


def _job(found: Source, name: str, classes: dict[int, str], out: Path) -> Job:
    return Job(
        case=found.cases[name],
        preprocessing=found.preprocessing,
        channels=len(found.channel_names),
        label_values=tuple(sorted(classes)),
        class_names=tuple(classes[value] for value in sorted(classes)),
        folder=inside(out / "cases", name),
    )


def _staged(folder: Path) -> Path:
    return folder.with_name(f".new-{folder.name}")


def _manifest(source: Path, found: Source, classes: dict[int, str], infos: Infos) -> Manifest:
    names = (*found.train, *found.test)
    entries = {
        name: CaseEntry(
            hash=infos[name].hash,
            shape=infos[name].shape,
            spacing=infos[name].spacing,
            has_label=infos[name].sources.label is not None,
        )
        for name in names
    }
    x, y, z = np.median([entry.spacing for entry in entries.values()], axis=0).tolist()
    manifest = Manifest(
        source_kind=found.kind,
        source=str(source.resolve()),
        channel_names=found.channel_names,
        class_names=dict(enumerate(classes[value] for value in sorted(classes))),
        label_values=dict(enumerate(sorted(classes))),
        preprocessing=found.preprocessing,
        spacing=found.preprocessing.spacing or (x, y, z),
        train=found.train,
        test=found.test,
        cases=entries,
        data_hash="",
    )
    return replace(manifest, data_hash=manifest.content_hash())


def _publish(out: Path, manifest: Manifest) -> None:
    """Exchange the folders that were waiting and write the manifest, which comes last."""
    draft = out / ".manifest.json"
    write_json(draft, MANIFEST.content(manifest))  # a full disk shows here, before anything moves
    cases = out / "cases"
    for name in manifest.cases:
        staged = _staged(cases / name)
        if staged.is_dir() and read_case(staged).hash == manifest.cases[name].hash:
            move(staged, cases / name)
    move(draft, out / "manifest.json")
    for folder in contents(cases):
        if folder.name not in manifest.cases:
            remove(folder)


@contextmanager
def _opened(out: Path) -> Iterator[None]:
    """Hold the cache alone, without the leftovers of a run that was killed."""
    cases = out / "cases"
    if contents(out) and not cases.is_dir():
        raise SimcvdError(f"{out}: holds other files and is not a cache. Give an empty folder.")
    with _disk(out):
        cases.mkdir(parents=True, exist_ok=True)
    busy = f"{out}: another `simcvd prepare` is writing here; let it end, or give another --out."
    with locked(out / LOCK, busy):
        with _disk(out):
            for folder in (*cases.glob(".tmp-*"), *cases.glob(".old-*")):  # of earlier versions
                remove(folder)
            sweep(cases)
        yield


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(out, error) from error


def _listed(source: Path, problems: list[str]) -> str:
    unique = sorted(set(problems))
    lines = "\n".join(f"  - {problem}" for problem in unique)
    count = counted(len(unique), "problem")
    return f"{source}: {count} to fix before training (sound scans stay prepared):\n{lines}"


def _speaker(quiet: bool) -> Callable[[str], None]:
    from rich.console import Console

    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    return lambda text: console.print(text, markup=False, highlight=False)
