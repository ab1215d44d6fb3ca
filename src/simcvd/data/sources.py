"""Which files make up a data set: the layouts that `prepare` recognises.

A layout is recognised by its files alone. A scan whose label file is not there is
unlabelled; nothing else about it changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simcvd.data.io import has_label, stem_of, suffix_of
from simcvd.data.preprocess import Preprocessing
from simcvd.types import SimcvdError

LA_LABELS = {0: "background", 1: "left atrium"}
LA_NAME = re.compile(r"[A-Z0-9]{20}")
# Soft tissue, the window of the pancreas protocol; lungs or bone need another.
CT_WINDOW = (-125.0, 275.0)


@dataclass(frozen=True, kw_only=True)
class SourceCase:
    """The files of one scan: one file, or one a channel; label None when unlabelled."""

    name: str
    images: tuple[Path, ...]
    label: Path | None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A recognised data set.

    labels: {value in the files: class name}, or None when they must be found in the data.
    train, test: names in the order of the lists, or sorted where there is no list.
    notes: what the user should know. problems: what must be mended first.
    """

    kind: str
    description: str
    cases: dict[str, SourceCase]
    train: tuple[str, ...]
    test: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ("image",)
    labels: dict[int, str] | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


Pairs = tuple[dict[str, SourceCase], list[str], list[str]]  # cases, notes, problems


def recognise(source: Path, labels: Path | None = None) -> Source:
    """Look at the folder `source` and say what it is.

    labels: the folder of label maps, when `source` itself is a folder of scans.
    Raises SimcvdError with the layouts that would be recognised when none fits.
    """
    if not source.is_dir():
        raise SimcvdError(f"{source}: there is no such folder.")
    if labels is not None and not labels.is_dir():
        raise SimcvdError(f"{labels}: there is no such folder of labels.")
    if labels is not None:
        images = source / "images" if (source / "images").is_dir() else source
        return _two_folders(source, images, labels)
    if (source / "dataset.json").is_file():
        return _decathlon(source)
    for folders in ("*", "*/*"):
        if files := _visible(source.glob(f"{folders}/mri_norm2.h5")):
            return _la_h5(source, files)
        if files := _visible(source.glob(f"{folders}/lgemri.nrrd")):
            return _la_nrrd(source, files)
    if (source / "images").is_dir():
        return _two_folders(source, source / "images", source / "labels")
    raise SimcvdError(
        f"{source}: not recognised. Expected one of: images/ and labels/ with files of equal "
        "names; dataset.json with imagesTr/ and labelsTr/ (Decathlon, nnU-Net); "
        "<case>/mri_norm2.h5; <case>/lgemri.nrrd with laendo.nrrd; or a folder of scans with "
        f"--labels FOLDER. Found: {_few(sorted(p.name for p in source.iterdir()))}."
    )


def _la_h5(root: Path, files: list[Path]) -> Source:
    cases = {
        f.parent.name: SourceCase(
            name=f.parent.name, images=(f,), label=f if _h5_has_label(f) else None
        )
        for f in files
    }
    return _with_lists(
        root,
        Source(
            kind="la-h5",
            description="left-atrium benchmark as <case>/mri_norm2.h5, normalised already, "
            "taken as 0.625 mm isotropic",
            cases=cases,
            train=tuple(sorted(cases)),
            labels=LA_LABELS,
            preprocessing=Preprocessing(normalization="none"),
            problems=_doubled(f.parent for f in files),
        ),
    )


def _h5_has_label(path: Path) -> bool:
    try:
        return has_label(path)
    except SimcvdError:
        return True  # unreadable: reported with all other problems when the case is read


def _la_nrrd(root: Path, files: list[Path]) -> Source:
    cases = {}
    for image in files:
        label = image.with_name("laendo.nrrd")
        name = image.parent.name
        cases[name] = SourceCase(
            name=name, images=(image,), label=label if label.is_file() else None
        )
    return _with_lists(
        root,
        Source(
            kind="la-nrrd",
            description="left-atrium challenge as <case>/lgemri.nrrd and laendo.nrrd "
            "(label 255), z-scored over the whole scan",
            cases=cases,
            train=tuple(sorted(cases)),
            labels={0: LA_LABELS[0], 255: LA_LABELS[1]},
            problems=_doubled(f.parent for f in files),
        ),
    )


def _two_folders(root: Path, images: Path, labels: Path) -> Source:
    cases, notes, problems = _paired(_scans(images), _scans(labels) if labels.is_dir() else [])
    source = Source(
        kind="folders",
        description=f"scans of {images.name}/ paired by name with labels of {labels.name}/",
        cases=cases,
        train=tuple(sorted(cases)),
        notes=tuple(notes),
        problems=tuple(problems),
    )
    if not cases:
        raise SimcvdError(f"{images}: holds no scan of a known format.")
    source = _with_lists(root, source)
    if not (source.test and all(LA_NAME.fullmatch(name) for name in cases)):
        return source
    return replace(
        source,
        kind="la-nifti",
        description="left-atrium benchmark as NIfTI with train.list and test.list, "
        "normalised already",
        labels=LA_LABELS,
        preprocessing=Preprocessing(normalization="none"),
    )


def _paired(images: list[Path], labels: list[Path]) -> Pairs:
    by_name = {stem_of(path): path for path in labels}
    cases = {}
    for image in images:
        name = stem_of(image)
        cases[name] = SourceCase(name=name, images=(image,), label=by_name.get(name))
    notes, problems = [], [*_doubled(images), *_doubled(labels)]
    orphans = sorted(set(by_name) - set(cases))
    if orphans and len(orphans) == len(by_name):
        problems.append(
            f"no label has the name of a scan: labels are called {_few(orphans)}, "
            f"scans {_few(sorted(cases))}. Give label and scan one name."
        )
    elif orphans:
        notes.append(f"{len(orphans)} labels have no scan and are left out: {_few(orphans)}")
    return cases, notes, problems


def _decathlon(root: Path) -> Source:
    path = root / "dataset.json"
    info = _json(path)
    channels, labels = _channel_names(path, info), _declared_labels(path, info)
    ending = info.get("file_ending")
    cases, notes, problems = _decathlon_folder(root, "Tr", ending, len(channels))
    if not cases:
        raise SimcvdError(f"{root / 'imagesTr'}: holds no scan of a known format.")
    test: list[str] = []
    if (root / "labelsTs").is_dir():
        more, more_notes, more_problems = _decathlon_folder(root, "Ts", ending, len(channels))
        both = sorted(set(cases) & set(more))
        if both:
            problems.append(f"in imagesTr and imagesTs under one name: {_few(both)}.")
        test = sorted(set(more) - set(cases))
        cases, notes, problems = {**more, **cases}, notes + more_notes, problems + more_problems
    ct = all(name.upper() == "CT" for name in channels)
    source = Source(
        kind="decathlon",
        description="Decathlon / nnU-Net folder with dataset.json",
        cases=cases,
        train=tuple(sorted(set(cases) - set(test))),
        test=tuple(test),
        channel_names=channels,
        labels=labels,
        preprocessing=Preprocessing(normalization="ct", window=CT_WINDOW)
        if ct
        else Preprocessing(),
        notes=tuple(notes),
        problems=tuple(problems),
    )
    splits = root / "splits.json"
    return _with_split(source, splits, _json(splits)) if splits.is_file() else source


def _decathlon_folder(root: Path, part: str, ending: str | None, channels: int) -> Pairs:
    """The cases of imagesTr or imagesTs; nnU-Net keeps one file a channel, ``<case>_0000``."""
    images, labels = _scans(root / f"images{part}"), _scans(root / f"labels{part}")
    if ending:
        images = [p for p in images if p.name.endswith(ending)]
        labels = [p for p in labels if p.name.endswith(ending)]
    cases, notes, problems = _paired(images, labels)
    if not images or not all(re.search(r"_\d{4}$", name) for name in cases):
        return cases, notes, problems
    if not ending and any(c.label for c in cases.values()):
        return cases, notes, problems  # Decathlon names such as la_0003 are no channels
    firsts = [p for p in images if stem_of(p).endswith("_0000")]
    by_label = {stem_of(p): p for p in labels}
    problems = [*_doubled(images), *_doubled(labels)]
    grouped = {}
    for first in firsts:
        name = stem_of(first)[:-5]
        files = [first.with_name(f"{name}_{c:04d}{suffix_of(first)}") for c in range(channels)]
        missing = [f.name for f in files if not f.is_file()]
        if missing:
            problems.append(f"{first}: its other channels are missing: {_few(missing)}.")
        grouped[name] = SourceCase(name=name, images=tuple(files), label=by_label.get(name))
    return grouped, [], problems


def _channel_names(path: Path, info: dict[str, Any]) -> tuple[str, ...]:
    channels = info.get("channel_names", info.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise SimcvdError(
            f"{path}: declares no channels. Add \"channel_names\": {{\"0\": \"MRI\"}}."
        )
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


def _with_lists(root: Path, source: Source) -> Source:
    """Take train.list and test.list (one name a line) where they stand in the folder."""
    found = {part: root / f"{part}.list" for part in ("train", "test")}
    found = {part: path for part, path in found.items() if path.is_file()}
    if not found:
        return source
    return _with_split(source, root, {part: _lines(path) for part, path in found.items()})


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _with_split(source: Source, where: Path, split: dict[str, Any]) -> Source:
    """The source with the given lists; a list that is absent gets what the other leaves."""
    problems = []
    for part in ("train", "test"):
        names = split.get(part, [])
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise SimcvdError(f"{where}: '{part}' must be a list of scan names.")
        problems += [f"{where}: {n} of the {part} list has no scan." for n in names
                     if n not in source.cases]
        if doubled := _few(sorted({n for n in names if names.count(n) > 1})):
            problems.append(f"{where}: named more than once in the {part} list: {doubled}.")
    train, test = split.get("train"), split.get("test", [])
    if train is None:
        train = [n for n in source.train if n not in test]
    if both := _few(sorted(set(train) & set(test))):
        problems.append(f"{where}: in the train list and in the test list: {both}.")
    notes = []
    if rest := sorted(set(source.cases) - set(train) - set(test)):
        notes.append(f"{len(rest)} scans are in no list and are left out: {_few(rest)}")
    return replace(
        source,
        train=tuple(train),
        test=tuple(test),
        notes=(*source.notes, *notes),
        problems=(*source.problems, *problems),
    )


def _scans(folder: Path) -> list[Path]:
    """Files of a known format, sorted; hidden ones (macOS leaves ``._x.nii.gz``) apart."""
    if not folder.is_dir():
        return []
    return [p for p in _visible(folder.iterdir()) if p.is_file() and suffix_of(p)]


def _visible(paths: Iterable[Path]) -> list[Path]:
    return sorted(p for p in paths if not p.name.startswith("."))


def _doubled(paths: Iterable[Path]) -> tuple[str, ...]:
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(stem_of(path), []).append(str(path))
    return tuple(
        f"two files of one name, '{name}': {' and '.join(files)}. Keep or rename one."
        for name, files in by_name.items()
        if len(files) > 1
    )


def _few(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SimcvdError(f"{path}: is no readable JSON ({error}).") from error
    if not isinstance(content, dict):
        raise SimcvdError(f"{path}: must hold a JSON object, not a {type(content).__name__}.")
    return content
