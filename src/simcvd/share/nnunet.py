"""A data set as a folder that nnU-Net (version 2) trains on, so that nobody is locked in.

nnU-Net wants a label for every training scan, classes numbered without gaps and one file a
channel; scans without a label go to ``imagesTs``, where its prediction finds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simcvd.data.classes import find_classes
from simcvd.data.reading import (
    label_on_scan,
    placed,
    read_case_label,
    read_channels,
    same_grid,
)
from simcvd.files import write_json
from simcvd.formats import write_image, write_label
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import Source, SourceCase
from simcvd.naming import inside
from simcvd.types import SimcvdError, Volume
from simcvd.wording import few
from simcvd.workers.processes import in_parallel

ENDING = ".nii.gz"


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written. train: labelled scans. test: those of the test list. unlabeled: others."""

    folder: Path
    train: int
    test: int
    unlabeled: int


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One scan: files to read and write. values: {value in the data set: nnU-Net's}."""

    case: SourceCase
    channels: int
    images: Path
    labels: Path
    values: Mapping[int, int]


def to_nnunet(
    source: Path | str,
    out: Path | str,
    *,
    labels: Path | None = None,
    resample_labels: bool = False,
    names: str | None = None,
    patient: str | None = None,
    jobs: int | None = None,
    quiet: bool = True,
) -> Converted:
    """Write ``imagesTr``, ``labelsTr``, ``imagesTs``, ``labelsTs`` and ``dataset.json``.

    source, labels, resample_labels, names, patient: as `simcvd.data.prepare.prepare` takes them.
    Values and geometry of scans are kept, classes numbered from 0 in the order of their values; a
    label is stored in its scan's own order of voxels. ``dataset.json`` comes last.
    Raises SimcvdError for a folder that holds other files, and with every problem of any scan.
    """
    out = Path(out)
    _refuse_inside(out, [Path(source), *([labels] if labels else [])])
    found = recognise(source, labels, resample_labels=resample_labels, names=names, patient=patient)
    classes = find_classes(found, out, jobs)
    work = _jobs(found, out, classes)
    _refuse_others(out, work, len(found.channel_names))
    problems = [*found.problems, *filter(None, in_parallel(_convert, work, jobs, "writing", quiet))]
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise SimcvdError(f"{source}: cannot be converted:{listed}")
    train = sum(job.images.name == "imagesTr" for job in work)
    write_json(out / "dataset.json", _record(found, classes, train))
    test = len({*found.test} & {*found.cases})
    return Converted(folder=out, train=train, test=test, unlabeled=len(work) - train - test)


def _jobs(found: Source, out: Path, classes: Mapping[int, str]) -> list[_Job]:
    values = {value: index for index, value in enumerate(sorted(classes))}
    jobs = []
    for name, case in found.cases.items():
        part = "Tr" if name not in found.test and case.label else "Ts"
        jobs.append(
            _Job(
                case=case,
                channels=len(found.channel_names),
                images=out / f"images{part}",
                labels=out / f"labels{part}",
                values=values,
            )
        )
    return jobs


def _refuse_inside(out: Path, folders: Sequence[Path]) -> None:
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise SimcvdError(
                f"{out}: lies in {folder}, where the scans and labels written would be taken for "
                "more of the data set. Give --out a folder elsewhere"
            )


def _refuse_others(out: Path, work: list[_Job], channels: int) -> None:
    """A folder with anything but what an earlier call left there."""
    planned = {out / "dataset.json"}
    for job in work:
        planned |= {*_image_files(job, channels), _label_file(job)}
    there = {path for path in out.rglob("*") if path.is_file()} if out.exists() else set()
    if others := sorted(path.relative_to(out).as_posix() for path in there - planned):
        raise SimcvdError(f"{out}: holds other files ({few(others)}). Give a new folder for --out")


def _image_files(job: _Job, channels: int) -> list[Path]:
    return [inside(job.images, f"{job.case.name}_{c:04d}{ENDING}") for c in range(channels)]


def _label_file(job: _Job) -> Path:
    return inside(job.labels, f"{job.case.name}{ENDING}")


def _convert(job: _Job) -> str:
    """Write one scan; the sentence that says what is wrong with it, else ""."""
    try:
        image = read_channels(job.case.images, job.channels)
        label = _label(job, image) if job.case.label else None
    except SimcvdError as error:
        return str(error)
    for channel, path in enumerate(_image_files(job, job.channels)):
        write_image(path, image.array[channel : channel + 1], image.affine)
    if label is not None:
        write_label(_label_file(job), label, image.affine)
    return ""


def _label(job: _Job, image: Volume) -> np.ndarray:
    """nnU-Net's classes ``[X, Y, Z]``, voxel by voxel those of the scan."""
    label = label_on_scan(job.case, image, read_case_label(job.case))
    turned = label if same_grid(image, label) else placed(image, label)
    if turned is None:
        raise SimcvdError(
            f"{job.case.label}: its voxels are not stored along its scan's axes. Draw it on the "
            "scan's own grid, or give --resample-labels."
        )
    found, places = np.unique(turned.array, return_inverse=True)
    if strange := [str(v) for v in found.tolist() if v not in job.values]:
        raise SimcvdError(f"{job.case.label}: holds the value {few(strange)}, which is no class.")
    table = np.array([job.values[v] for v in found.tolist()])
    return table[places].reshape(turned.array.shape)


def _record(found: Source, classes: Mapping[int, str], train: int) -> dict[str, object]:
    """nnU-Net normalises a channel called CT by the intensities of all scans, others by itself.

    Names mean something there, too: a class of another's, or one that nnU-Net gives a meaning of
    its own, has its value added.
    """
    ct = found.preprocessing.normalization == "ct"
    names = ["CT"] if ct and len(found.channel_names) == 1 else found.channel_names
    labels = {"background": 0}
    for index, value in enumerate(sorted(classes)):
        if index:
            name = classes[value]
            labels[f"{name} ({value})" if name in (*labels, "ignore") else name] = index
    return {
        "channel_names": {str(i): name for i, name in enumerate(names)},
        "labels": labels,
        "numTraining": train,
        "file_ending": ENDING,
    }
