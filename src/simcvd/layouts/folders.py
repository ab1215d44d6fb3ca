"""Two folders, scans and labels, paired by name: images/ and labels/, or any two that are given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simcvd.layouts.decathlon import declared, preprocessing_of
from simcvd.layouts.lists import with_lists
from simcvd.layouts.pairing import Pairing, pair
from simcvd.layouts.records import Source
from simcvd.layouts.words import names_labels
from simcvd.types import SimcvdError
from simcvd.wording import few

DECLARED = "dataset.json"


def images_folder(root: Path) -> Path | None:
    """The folder images/ in `root`, whatever its capitals."""
    found = sorted(p for p in root.iterdir() if p.name.lower() == "images" and p.is_dir())
    return found[0] if found else None


def labels_folder(root: Path) -> Path:
    """The folder of labels in `root`: labels/, or the one folder that is called like one.

    Where there is none, labels/, which then does not exist. Raises SimcvdError for several.
    """
    plain = root / "labels"
    found = sorted(p for p in root.iterdir() if names_labels(p.name) and p.is_dir())
    if plain in found or not found:
        return plain
    if len(found) > 1:
        raise SimcvdError(
            f"{root}: {few([p.name for p in found])} may all be labels; say which with --labels."
        )
    return found[0]


def two_folders(root: Path, images: Path, labels: Path, names: str | None = None) -> Source:
    """Scans of `images` with labels of `labels`; names: see `simcvd.layouts.pairing.pair`."""
    found = pair(images, labels, names)
    one = ", one mask a class" if found.classes else ""
    there = "" if labels.is_dir() else " (there is no such folder)"
    about = f"scans of {images.name}/ paired by name with labels of {labels.name}/{there}{one}"
    return declared_over(root, images, source_of(found, about))


def source_of(found: Pairing, description: str) -> Source:
    """A pairing as a data set that declares nothing."""
    several = tuple(f"channel {c}" for c in range(found.channels))
    return Source(
        kind="folders",
        description=description,
        cases=found.cases,
        train=tuple(sorted(found.cases)),
        channel_names=several if found.channels > 1 else ("image",),
        labels=found.classes,
        notes=found.notes,
        problems=found.problems,
        passed=found.passed,
    )


def declared_over(root: Path, images: Path, source: Source) -> Source:
    """The source with what a dataset.json beside its scans declares, and with its lists."""
    path = next((p for p in (images / DECLARED, root / DECLARED) if p.is_file()), None)
    channels, classes = declared(path) if path else (None, None)
    problems, several = list(source.problems), len(source.channel_names)
    if channels and several > 1 and len(channels) != several:
        problems.append(
            f"{path}: declares {len(channels)} channels, but the scans have {several} files each"
        )
    names = channels or source.channel_names
    source = replace(
        source,
        channel_names=names,
        labels=source.labels or classes,
        preprocessing=preprocessing_of(names),
        problems=tuple(problems),
        lists=(path,) if path else (),
    )
    return with_lists(root, source)
