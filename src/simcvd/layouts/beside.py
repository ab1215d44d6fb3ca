"""Labels that lie beside their scans and are told by their names.

::

    p1.nii.gz, p1_seg.nii.gz                                   scans of one folder
    p1/p1_t1.nii.gz, p1/p1_t2.nii.gz, p1/p1_seg.nii.gz         a folder a scan, one file a channel
    case_00000/imaging.nii.gz, case_00000/segmentation.nii.gz  KiTS
    s0000/ct.nii.gz, s0000/segmentations/liver.nii.gz, ...     TotalSegmentator, one mask a class
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simcvd.formats import suffix_of
from simcvd.layouts.folders import declared_over, source_of
from simcvd.layouts.labels import Labels
from simcvd.layouts.pairing import Pairing, paired
from simcvd.layouts.records import Source
from simcvd.layouts.scans import Key, ScanFile, Scans, key_of, scans_of, whole_channels
from simcvd.layouts.tree import walk
from simcvd.layouts.words import names_labels, without_label_words, without_scan_words


def beside(root: Path, names: str | None = None) -> Source | None:
    """The data set in `root`, or None where no label lies beside a scan.

    names: see `simcvd.layouts.pairing.pair`.
    """
    tree = walk(root)
    named = [ScanFile(path, key_of(root, path)) for path in tree.files if suffix_of(path)]
    if not any(map(_like_a_label, named)):
        return None  # before the tags of any DICOM file are read
    every = scans_of(tree)
    images, labels = divided(every.found)
    if not images or not labels:
        return None
    scans, channels = replace(every, found=images), _channels(images, labels)
    if names:
        found = paired(scans, Labels(labels), names)
    elif channels:
        found = _several(scans, labels, channels)
    else:
        found = paired(replace(scans, found=_by_folder(images)), Labels(_placed(labels)))
    masks = ", one mask a class" if found.classes else ""
    each = "one file a channel" if found.channels > 1 else "one file each"
    source = source_of(found, f"scans, {each}, with their labels beside them{masks}")
    if channels and found.channels > 1:
        source = replace(source, channel_names=tuple(sorted(next(iter(channels.values())))))
    return replace(declared_over(root, root, source), kind="beside")


def divided(files: Sequence[ScanFile]) -> tuple[list[ScanFile], list[ScanFile]]:
    """Scans and labels. A label is called like one and belongs to a scan that is not."""
    likely = {file.path for file in files if not file.files and _like_a_label(file)}
    scans = [file for file in files if file.path not in likely]
    labels = [f for f in files if f.path in likely and _belongs(f, _of(place(f.key), scans))]
    taken = {file.path for file in labels}
    return [file for file in files if file.path not in taken], labels


def place(key: Key) -> Key:
    """The folders of a file, without those that are called like folders of labels."""
    return tuple(folder for folder in key[:-1] if not names_labels(folder))


def _of(folder: Key, files: Sequence[ScanFile]) -> list[ScanFile]:
    return [file for file in files if file.key[:-1] == folder]


def _like_a_label(file: ScanFile) -> bool:
    return place(file.key) != file.key[:-1] or without_label_words(file.name) != file.name


def _belongs(label: ScanFile, scans: Sequence[ScanFile]) -> bool:
    """Whether a file that is called like a label has a scan beside it to be the label of."""
    core = _core(label)
    if not core or place(label.key) != label.key[:-1]:
        return bool(scans)
    names = [without_scan_words(scan.name) for scan in scans]
    return core in names or (bool(names) and all(name.startswith(core) for name in names))


def _core(label: ScanFile) -> str:
    return without_scan_words(without_label_words(label.name))


def _by_folder(images: Sequence[ScanFile]) -> list[ScanFile]:
    """Scans that are alone in their folders are called like these."""
    folders = [file.key[:-1] for file in images]
    return [
        replace(file, key=file.key[:-1])
        if file.key[:-1] and folders.count(file.key[:-1]) == 1
        else file
        for file in images
    ]


def _placed(labels: Sequence[ScanFile]) -> list[ScanFile]:
    """Labels in the folders of their scans; one called "segmentation" and no more is a folder's."""
    return [
        replace(file, key=(*place(file.key), file.name))
        if without_label_words(file.name) not in ("", *place(file.key)[-1:])
        else replace(file, key=place(file.key) or file.key)
        for file in labels
    ]


Channels = dict[Key, dict[str, ScanFile]]


def _channels(images: Sequence[ScanFile], labels: Sequence[ScanFile]) -> Channels:
    """The scans of every folder by channel, if folders hold several and label them as one."""
    folders = {file.key[:-1] for file in images}
    own = {folder: _of(folder, images) for folder in sorted(folders)}
    if () in folders or all(len(files) == 1 for files in own.values()):
        return {}
    cores = {(f.key[:-1], without_scan_words(f.name)) for f in images}
    if any((place(f.key), _core(f)) in cores for f in labels):
        return {}  # each scan has a label of its own
    return {folder: {_channel(f): f for f in files} for folder, files in own.items()}


def _channel(file: ScanFile) -> str:
    """``p1/p1_t1`` is channel t1."""
    rest = file.name.removeprefix(file.key[-2])
    return rest.lstrip("._- ") if rest[:1] in ("_", "-", ".", " ") else file.name


def _several(scans: Scans, labels: Sequence[ScanFile], channels: Channels) -> Pairing:
    """Each folder as one scan of several channels."""
    whole, count, problems = whole_channels({"/".join(k): own for k, own in channels.items()})
    firsts = [replace(files[0], key=files[0].key[:-1]) for files in whole.values()]
    found = paired(replace(scans, found=firsts), Labels(_placed(labels)))
    files = {own[0].path: tuple(file.path for file in own) for own in whole.values()}
    cases = {n: replace(case, images=files[case.images[0]]) for n, case in found.cases.items()}
    return replace(found, cases=cases, channels=count, problems=(*found.problems, *problems))
