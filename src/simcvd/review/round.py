"""What a WORK folder of `simcvd run` holds for its reader: scans, classes, layers and states."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcvd.data.cache import read_json
from simcvd.data.dicom_files import files_below, split_address
from simcvd.data.io import NIFTI, suffix_of
from simcvd.data.listing import Source, SourceCase, read_object
from simcvd.data.sources import recognise
from simcvd.files import write_text
from simcvd.inference.inputs import ENDINGS, format_of
from simcvd.types import SimcvdError

# Okabe and Ito's colours, which differ for colour-blind readers too; further classes turn the hue.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
SAVED = ("corrected", "accepted")


@dataclass(frozen=True, kw_only=True)
class Class:
    """A foreground or background class. value: what stands for it in the user's label files."""

    name: str
    value: int
    colour: str


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A map that can lie over a scan. kind: "classes", or "entropy" for how undecided it is."""

    id: str
    title: str
    path: Path
    kind: str = "classes"


@dataclass(frozen=True)
class Round:
    """One WORK folder. record: its run.json, the arguments of `simcvd run`."""

    work: Path
    record: dict[str, Any]
    source: Source
    classes: tuple[Class, ...]

    @classmethod
    def read(cls, work: Path) -> Round:
        """Raises SimcvdError if ``work`` was not made by `simcvd run`, or its scans are gone."""
        path = work / "run.json"
        if not path.is_file():
            raise SimcvdError(
                f"{work}: holds no run.json, so `simcvd run` did not make it. Give the folder that "
                "was its --out."
            )
        record = read_object(path)
        images, labels = record.get("images"), record.get("labels")
        if not isinstance(images, str) or not isinstance(labels, str | None):
            raise SimcvdError(f"{path}: does not say where the scans are. Start `simcvd run` anew.")
        resample = bool(record.get("resample_labels"))
        folder = Path(labels) if labels else None
        source = recognise(Path(images), folder, resample_labels=resample)
        return cls(work, record, source, _classes(work, source))

    def case(self, name: str) -> SourceCase:
        """The files of a scan. Raises SimcvdError for an unknown name."""
        if name not in self.source.cases:
            raise SimcvdError(f"there is no scan '{name}' in this round")
        return self.source.cases[name]

    def own_label(self, name: str) -> Path:
        """Where what is drawn for a scan is kept, in the scan's own format.

        A DICOM series and an h5 file get a NIfTI file: labels are read from those.
        """
        kind = format_of(self.case(name).images[0])
        ending = ENDINGS["nifti" if kind == "dicom-seg" else kind]
        folder = self.work / "labels"
        if not folder.resolve().is_relative_to(self.work.resolve()):
            raise SimcvdError(f"{folder} leads out of {self.work}; make it a folder of its own")
        return inside(folder, f"{name}{ending}")

    def layers(self, name: str) -> list[Layer]:
        """What there is to lie over a scan, the label first; files outside WORK are left out."""
        return [layer for layer in self._layers(name) if self._is_ours(layer)]

    def layer(self, name: str, wanted: str) -> Layer:
        """Raises SimcvdError if the scan has no such layer."""
        for layer in self.layers(name):
            if layer.id == wanted:
                return layer
        raise SimcvdError(f"'{name}' has no layer '{wanted}'; reload the page")

    def _layers(self, name: str) -> Iterator[Layer]:
        own, given = self.own_label(name), self.case(name).label
        if own.is_file():
            yield Layer(id="label", title="Label (this review)", path=own)
        if given is not None:
            yield Layer(id="given", title="Label (as given)", path=given)
        for folder in self._predicted():
            which, title = "prediction", "Prediction"
            if folder.parent != self.work:
                which, title = f"heldout-{folder.parent.name}", f"Held out: {folder.parent.name}"
            for ending in ENDINGS.values():
                if (path := inside(folder, f"{name}{ending}")).is_file():
                    yield Layer(id=which, title=title, path=path)
        entropy = inside(self.work / "predictions" / "entropy", f"{name}.nii.gz")
        if entropy.is_file():
            yield Layer(id="entropy", title="Entropy", path=entropy, kind="entropy")

    def _predicted(self) -> list[Path]:
        methods = (p / "predictions" for p in sorted(self.work.iterdir()) if p.is_dir())
        return [p for p in (self.work / "predictions", *methods) if p.is_dir()]

    def _is_ours(self, layer: Layer) -> bool:
        return layer.id == "given" or layer.path.resolve().is_relative_to(self.work.resolve())

    def scans(self) -> list[dict[str, Any]]:
        """One record a scan, worst first: by the need to label, else by confidence."""
        table = _table(self.work / "predictions" / "predictions.csv")
        states = States(self.work)
        rows = [self._row(name, table.get(name), states) for name in self.source.cases]
        return sorted(rows, key=lambda row: (row.pop("rank"), row["name"]))

    def _row(self, name: str, found: dict[str, str] | None, states: States) -> dict[str, Any]:
        label, given = self.own_label(name), self.case(name).label is not None
        confidence = _number(found, "confidence")
        need = _number(found, "need")
        # No confidence in a line that is there: nothing was found in the scan.
        worst = -1.0 if found and confidence is None else confidence
        return {
            "name": name,
            "state": states.of(name, label) or ("labelled" if given else "unlabelled"),
            "stale": states.stale(name, label, self.case(name).images),
            "confidence": confidence,
            "volumes": {k: v for k, v in (found or {}).items() if k.endswith("(ml)") and v},
            "flags": (found or {}).get("flags", ""),
            "rank": -need if need is not None else math.inf if worst is None else worst,
        }


class States:
    """WORK/review/states.json: what was done to a scan, and which files it was done on.

    Kept as {case: {"state", "scan", "label"}} with the stamps of scan and label.
    """

    def __init__(self, work: Path) -> None:
        self.path = work / "review" / "states.json"
        self.kept: dict[str, Any] = read_json(self.path) if self.path.exists() else {}

    def of(self, name: str, label: Path) -> str | None:
        """None without a label of the review's; "corrected" where another program wrote it."""
        if not label.is_file():
            return None
        entry = self.kept.get(name, {})
        same = entry.get("label") == stamp_of([label])
        return str(entry["state"]) if same and entry.get("state") in SAVED else "corrected"

    def stale(self, name: str, label: Path, images: tuple[Path, ...]) -> bool:
        """Whether the scan has changed since its label was saved here."""
        drawn_on = self.kept.get(name, {}).get("scan")
        return drawn_on is not None and label.is_file() and drawn_on != stamp_of(images)

    def set(self, name: str, state: str, label: Path, scan: str) -> None:
        """Note what was done. Raises CannotWrite."""
        self.kept[name] = {"state": state, "scan": scan, "label": stamp_of([label])}
        write_text(self.path, json.dumps(self.kept, indent=1, sort_keys=True) + "\n")


def inside(folder: Path, name: str) -> Path:
    """``folder/name``. Raises SimcvdError for a name that would leave the folder."""
    if not name or name in (".", "..") or any(c in name for c in "/\\\0"):
        raise SimcvdError(f"{name!r} cannot be the name of a file in {folder}; rename the scan")
    return folder / name


def stamp_of(paths: tuple[Path, ...] | list[Path]) -> str:
    """Changes with the name, size or date of any of a scan's files; a series is all its files."""
    seen = []
    for path in paths:
        folder, _ = split_address(path)
        files = [folder] if folder.is_file() else files_below(folder)
        for file in files:
            status = file.stat()
            seen.append((str(file), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def _classes(work: Path, source: Source) -> tuple[Class, ...]:
    """The classes of the prepared data; before there are any, those that the labels declare."""
    path = work / "cache" / "manifest.json"
    if path.is_file():
        manifest = read_json(path)  # only this of it, so that one of any version will do
        names = {int(k): str(name) for k, name in manifest["class_names"].items()}
        values = {int(k): int(value) for k, value in manifest["label_values"].items()}
    else:
        declared = source.labels or {0: "background", 1: "class 1"}
        names, values = dict(enumerate(declared.values())), dict(enumerate(declared))
    return tuple(Class(name=names[k], value=values[k], colour=_colour(k)) for k in sorted(names))


def _colour(index: int) -> str:
    if index == 0:
        return "#000000"
    if index <= len(COLOURS):
        return COLOURS[index - 1]
    red, green, blue = _hsv(index * 0.618034 % 1, 0.65, 0.95)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _hsv(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    from colorsys import hsv_to_rgb

    red, green, blue = (round(255 * c) for c in hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _table(path: Path) -> dict[str, dict[str, str]]:
    """Lines of predictions.csv by case; empty where there is no such table."""
    for candidate in (path, path.parent.parent / path.name):
        if candidate.is_file():
            with candidate.open(encoding="utf-8", newline="") as file:
                return {row["case"]: row for row in csv.DictReader(file) if row.get("case")}
    return {}


def _number(row: dict[str, str] | None, column: str) -> float | None:
    try:
        value = float((row or {}).get(column) or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_nifti(path: Path) -> bool:
    """Whether a file is NIfTI by its name."""
    return suffix_of(path) in NIFTI
