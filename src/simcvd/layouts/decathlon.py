"""Folders with dataset.json: Medical Segmentation Decathlon and nnU-Net, versions 1 and 2."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simcvd.layouts.lists import doubled, read_object, with_split
from simcvd.layouts.records import Source, SourceCase
from simcvd.layouts.scans import ScanFile, Scans, find_scans
from simcvd.preprocessing import Preprocessing
from simcvd.types import SimcvdError
from simcvd.wording import few

# Soft tissue, the window of the pancreas protocol; lungs or bone need another.
CT_WINDOW = (-125.0, 275.0)


@dataclass
class Part:
    """imagesTr and labelsTr, or imagesTs and labelsTs: cases, and what is to be said of them."""

    cases: dict[str, SourceCase] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    passed: dict[Path, str] = field(default_factory=dict)


def decathlon(root: Path) -> Source:
    """The data set in `root`. labelsTs, if it is there, makes imagesTs the test scans.

    Without labelsTs the scans of imagesTs are unlabelled ones to learn from. Raises SimcvdError
    if dataset.json declares no channels or labels, or regions.
    """
    path = root / "dataset.json"
    info = read_object(path)
    channels, labels = _channel_names(path, info), _declared_labels(path, info)
    ending = info.get("file_ending")
    ending = ending if isinstance(ending, str) else None
    train, more = (_part(root, part, ending, len(channels)) for part in ("Tr", "Ts"))
    if not train.cases:
        raise SimcvdError(f"{root / 'imagesTr'}: holds no scan of a known format.")
    if both := sorted(set(train.cases) & set(more.cases)):
        train.problems.append(f"in imagesTr and imagesTs under one name: {few(both)}.")
    cases = {**more.cases, **train.cases}
    notes, others = [*train.notes, *more.notes], sorted(set(more.cases) - set(train.cases))
    test = others if (root / "labelsTs").is_dir() else []
    if others and not test:
        notes.append(
            f"the {len(others)} scans of imagesTs have no labels: they are unlabelled ones to "
            "learn from, no test scans"
        )
    source = Source(
        kind="decathlon",
        description="Decathlon / nnU-Net folder with dataset.json",
        cases=cases,
        train=tuple(sorted(set(cases) - set(test))),
        test=tuple(test),
        channel_names=channels,
        labels=labels,
        preprocessing=preprocessing_of(channels),
        notes=tuple(notes),
        problems=(*train.problems, *more.problems),
        lists=(path,),
        passed={**train.passed, **more.passed},
    )
    splits = root / "splits.json"
    if not splits.is_file():
        return source
    return with_split(source, splits, read_object(splits), [splits])


def declared(path: Path) -> tuple[tuple[str, ...] | None, dict[int, str] | None]:
    """Channels and labels of a dataset.json that need not declare both; None for what it leaves."""
    info = read_object(path)
    channels = _channel_names(path, info) if {"channel_names", "modality"} & set(info) else None
    return channels, _declared_labels(path, info) if "labels" in info else None


def preprocessing_of(channels: tuple[str, ...]) -> Preprocessing:
    """Hounsfield units in a window where all channels are called CT, else z-scores."""
    ct = all(name.upper() == "CT" for name in channels)
    return Preprocessing(normalization="ct", window=CT_WINDOW) if ct else Preprocessing()


def _part(root: Path, part: str, ending: str | None, channels: int) -> Part:
    """The cases of imagesTr or imagesTs. Labels may have another ending than file_ending."""
    images = find_scans(root / f"images{part}")
    labels = find_scans(root / f"labels{part}")
    made = Part(notes=[*images.notes, *labels.notes], problems=list(images.problems))
    made.problems += labels.problems
    made.passed = {**images.passed, **labels.passed}
    scans = _of_ending(images, ending, made)
    drawn = {file.name: file for file in labels.found}
    made.problems += doubled(file.path for file in scans)
    made.problems += doubled(file.path for file in labels.found)
    split = _one_file_a_channel(scans, drawn, ending)
    files = _channel_files(scans, channels) if split else {file.name: [file] for file in scans}
    for name, own in files.items():
        label = drawn[name].path if name in drawn else None
        slices = tuple(path for file in own for path in file.files)
        made.cases[name] = SourceCase(
            name=name,
            images=tuple(file.path for file in own),
            label=label,
            patient=own[0].patient,
            files=slices,
        )
    _orphans(made, drawn)
    return made


def _of_ending(scans: Scans, ending: str | None, made: Part) -> list[ScanFile]:
    fitting = [f for f in scans.found if ending is None or f.path.name.endswith(ending)]
    others = [file.path for file in scans.found if file not in fitting]
    made.passed |= dict.fromkeys(others, f"does not end in {ending}, dataset.json's file_ending")
    if others:
        names = few([path.name for path in others])
        made.notes.append(f"{len(others)} scans do not end in {ending} and are left out: {names}")
    return fitting


def _orphans(made: Part, drawn: dict[str, ScanFile]) -> None:
    """Some labels without a scan are a note; no pair at all is a problem of naming."""
    orphans = sorted(set(drawn) - set(made.cases))
    made.passed |= {drawn[name].path: "a label of no scan" for name in orphans}
    if orphans and len(orphans) == len(drawn):
        made.problems.append(
            f"no label has the name of a scan: labels are called {few(orphans)}, "
            f"scans {few(sorted(made.cases))}. Give label and scan one name."
        )
    elif orphans:
        made.notes.append(f"{len(orphans)} labels have no scan and are left out: {few(orphans)}")


def _one_file_a_channel(
    images: list[ScanFile], labels: dict[str, ScanFile], ending: str | None
) -> bool:
    """nnU-Net's ``<case>_0000``; Decathlon has names such as la_0003 that are no channels."""
    names = {file.name for file in images}
    numbered = bool(names) and all(re.search(r"_\d{4}$", name) for name in names)
    return numbered and (ending is not None or names.isdisjoint(labels))


def _channel_files(images: list[ScanFile], channels: int) -> dict[str, list[ScanFile]]:
    """Each scan's files in the order of the channels; one that is missing is named when read."""
    by_name = {file.name: file for file in images}
    scans = {}
    for name, first in by_name.items():
        if name.endswith("_0000"):
            case = name.removesuffix("_0000")
            wanted = [f"{case}_{channel:04d}" for channel in range(channels)]
            scans[case] = [by_name.get(one) or _missing(first, one) for one in wanted]
    return scans


def _missing(first: ScanFile, name: str) -> ScanFile:
    path = first.path.with_name(first.path.name.replace(first.name, name, 1))
    return ScanFile(path, (*first.key[:-1], name))


def _channel_names(path: Path, info: dict[str, Any]) -> tuple[str, ...]:
    channels = info.get("channel_names", info.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise SimcvdError(f'{path}: declares no channels. Add "channel_names": {{"0": "MRI"}}.')
    try:
        return tuple(str(channels[key]) for key in sorted(channels, key=int))
    except ValueError as error:
        raise SimcvdError(
            f"{path}: channels must be numbered from 0, not {', '.join(map(str, channels))}."
        ) from error


def _declared_labels(path: Path, info: dict[str, Any]) -> dict[int, str]:
    """{value: name}, from {"0": "background"} or nnU-Net v2's {"background": 0}."""
    declared = info.get("labels")
    if not isinstance(declared, dict) or len(declared) < 2:
        raise SimcvdError(f"{path}: declares no labels; at least background and one class needed.")
    labels: dict[int, str] = {}
    for key, value in declared.items():
        by_value = isinstance(key, str) and key.lstrip("-").isdigit()
        number, name = (int(key), value) if by_value else (value, key)
        if not isinstance(number, int) or name == "ignore":
            raise SimcvdError(
                f"{path}: label {key!r}: {value!r} is a region or an ignored value; "
                "simcvd needs one whole number a class. Write the label maps that way."
            )
        labels[number] = str(name)
    if 0 not in labels:
        raise SimcvdError(f"{path}: value 0 must be the background; declared are {labels}.")
    return dict(sorted(labels.items()))
