"""Folders with dataset.json: Medical Segmentation Decathlon and nnU-Net, versions 1 and 2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from simcvd.data.listing import (
    Files,
    Pairs,
    Source,
    doubled,
    one_each,
    paired,
    read_object,
    scans,
    with_split,
)
from simcvd.data.preprocess import Preprocessing
from simcvd.formats import stem_of, suffix_of
from simcvd.types import SimcvdError
from simcvd.wording import few

# Soft tissue, the window of the pancreas protocol; lungs or bone need another.
CT_WINDOW = (-125.0, 275.0)


def decathlon(root: Path) -> Source:
    """The data set in `root`. labelsTs, if it is there, makes imagesTs the test scans.

    Raises SimcvdError if dataset.json declares no channels or labels, or regions.
    """
    path = root / "dataset.json"
    info = read_object(path)
    channels, labels = _channel_names(path, info), _declared_labels(path, info)
    ending = info.get("file_ending")
    cases, notes, problems = _folder(root, "Tr", ending, len(channels))
    if not cases:
        raise SimcvdError(f"{root / 'imagesTr'}: holds no scan of a known format.")
    test: list[str] = []
    if (root / "labelsTs").is_dir():
        more, more_notes, more_problems = _folder(root, "Ts", ending, len(channels))
        both = sorted(set(cases) & set(more))
        if both:
            problems.append(f"in imagesTr and imagesTs under one name: {few(both)}.")
        test = sorted(set(more) - set(cases))
        cases, notes, problems = {**more, **cases}, notes + more_notes, problems + more_problems
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
        problems=tuple(problems),
    )
    splits = root / "splits.json"
    return with_split(source, splits, read_object(splits)) if splits.is_file() else source


def declared(path: Path) -> tuple[tuple[str, ...] | None, dict[int, str] | None]:
    """Channels and labels of a dataset.json that need not declare both; None for what it leaves."""
    info = read_object(path)
    channels = _channel_names(path, info) if {"channel_names", "modality"} & set(info) else None
    return channels, _declared_labels(path, info) if "labels" in info else None


def preprocessing_of(channels: tuple[str, ...]) -> Preprocessing:
    """Hounsfield units in a window where all channels are called CT, else z-scores."""
    ct = all(name.upper() == "CT" for name in channels)
    return Preprocessing(normalization="ct", window=CT_WINDOW) if ct else Preprocessing()


def _folder(root: Path, part: str, ending: str | None, channels: int) -> Pairs:
    """The cases of imagesTr or imagesTs."""
    images, labels = scans(root / f"images{part}"), scans(root / f"labels{part}")
    if ending:
        images = [p for p in images if p.name.endswith(ending)]
        labels = [p for p in labels if p.name.endswith(ending)]
    split = _one_file_a_channel(images, labels, ending)
    files = _channel_files(images, channels) if split else one_each(images)
    cases, notes, problems = paired(files, labels)
    return cases, notes, doubled(images) + problems


def _one_file_a_channel(images: list[Path], labels: list[Path], ending: str | None) -> bool:
    """nnU-Net's ``<case>_0000``; Decathlon has names such as la_0003 that are no channels."""
    names = {stem_of(path) for path in images}
    numbered = bool(names) and all(re.search(r"_\d{4}$", name) for name in names)
    return numbered and (ending is not None or names.isdisjoint(map(stem_of, labels)))


def _channel_files(images: list[Path], channels: int) -> Files:
    firsts = [p for p in images if stem_of(p).endswith("_0000")]
    names = {stem_of(first).removesuffix("_0000"): first for first in firsts}
    return {
        name: tuple(first.with_name(f"{name}_{c:04d}{suffix_of(first)}") for c in range(channels))
        for name, first in names.items()
    }


def _channel_names(path: Path, info: dict[str, Any]) -> tuple[str, ...]:
    channels = info.get("channel_names", info.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise SimcvdError(f'{path}: declares no channels. Add "channel_names": {{"0": "MRI"}}.')
    return tuple(str(channels[key]) for key in sorted(channels, key=int))


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
