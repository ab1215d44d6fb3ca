"""What a WORK folder of `simcvd run` holds for its reader: scans, classes, layers and states."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from simcvd.active.kept import known_order
from simcvd.colours import class_colour
from simcvd.escape import cell
from simcvd.files import read_object, stats_of, write_json
from simcvd.formats import answers, files_of
from simcvd.formats.record import Format
from simcvd.inference.results import TABLE
from simcvd.inference.table import read_table
from simcvd.layouts.recognise import recognise
from simcvd.layouts.records import Source, SourceCase
from simcvd.naming import checked
from simcvd.pipeline.request import asked_in
from simcvd.records import Kind
from simcvd.scoring.titles import method_title
from simcvd.types import SimcvdError

SAVED = ("corrected", "accepted")


@dataclass(frozen=True, kw_only=True)
class Class:
    """A foreground or background class. value: what stands for it in the user's label files."""

    name: str
    value: int
    colour: str


@dataclass(frozen=True, kw_only=True)
class ClassNames:
    """What a cache's manifest says of classes, by index: only this, so any version's will do."""

    class_names: dict[int, str]
    label_values: dict[int, int]

    def __post_init__(self) -> None:
        if self.class_names.keys() != self.label_values.keys():
            raise SimcvdError("class_names and label_values are of different classes")


CLASSES = Kind(name="a manifest", record=ClassNames, advice="Type `simcvd run` again.")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A map that can lie over a scan. kind: "classes", or "entropy" for how undecided it is."""

    id: str
    title: str
    path: Path
    kind: str = "classes"


@dataclass(frozen=True)
class Round:
    """One WORK folder."""

    work: Path
    source: Source
    classes: tuple[Class, ...]

    @classmethod
    def read(cls, work: Path) -> Round:
        """Raises SimcvdError if ``work`` was not made by `simcvd run`, or its scans are gone."""
        asked = asked_in(work)
        source = recognise(asked.images, asked.labels, **asked.reading())
        return cls(work, source, _classes(work, source))

    def case(self, name: str) -> SourceCase:
        """The files of a scan. Raises SimcvdError for an unknown name."""
        if name not in self.source.cases:
            raise SimcvdError(f"there is no scan '{name}' in this round")
        return self.source.cases[name]

    def own_label(self, name: str) -> Path | None:
        """The label that was drawn for a scan, if any."""
        return self._file(self._labels, name)

    def label_in(self, kind: Format, name: str) -> Path:
        """Where a label that is drawn for a scan is kept in a format."""
        return self._labels / f"{checked(name, 'a scan')}{kind.ending}"

    @property
    def _labels(self) -> Path:
        folder = self.work / "labels"
        if not folder.resolve().is_relative_to(self.work.resolve()):
            raise SimcvdError(f"{folder} leads out of {self.work}; make it a folder of its own")
        return folder

    def _file(self, folder: Path, name: str) -> Path | None:
        """A scan's file in a folder of label maps, whatever its format; of several the newest."""
        endings = [ending for kind in answers().values() for ending in kind.endings]
        paths = [folder / f"{checked(name, 'a scan')}{ending}" for ending in endings]
        found = [path for path in paths if path.is_file()]
        return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)

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
        if own is not None:
            yield Layer(id="label", title="Label (this review)", path=own)
        if given is not None:
            yield Layer(id="given", title="Label (as given)", path=given)
        for folder in self._predicted():
            which, title = "prediction", "Prediction"
            if folder.parent != self.work:
                arm = folder.parent.name
                which, title = f"heldout-{arm}", f"Held out: {method_title(arm)}"
            if path := self._file(folder, name):
                yield Layer(id=which, title=title, path=path)
        entropy = self.work / "predictions" / "entropy" / f"{name}.nii.gz"
        if entropy.is_file():
            yield Layer(id="entropy", title="Entropy", path=entropy, kind="entropy")

    def _predicted(self) -> list[Path]:
        """Of the model, and of every arm for the scans that were held out from it."""
        arms = (p / "predictions" for p in sorted(self.work.iterdir()) if p.is_dir())
        return [p for p in (self.work / "predictions", *arms) if p.is_dir()]

    def _is_ours(self, layer: Layer) -> bool:
        return layer.id == "given" or layer.path.resolve().is_relative_to(self.work.resolve())

    def scans(self) -> list[dict[str, Any]]:
        """One record a scan, as `simcvd next` lists them, those it has not seen by confidence."""
        _, lines = read_table(self.work / "predictions" / TABLE)
        table = {line["case"]: line for line in lines}
        states = States(self.work)
        rows = [self._row(name, table.get(str(cell(name))), states) for name in self.source.cases]
        open_ = [row["name"] for row in rows if row["state"] == "unlabelled"]
        known = known_order(self.work, open_, [n for n in self.source.cases if n not in {*open_}])
        first = {name: place for place, name in enumerate(known)}

        def place(row: dict[str, Any]) -> tuple[float, float, str]:
            return first.get(row["name"], math.inf), row.pop("rank"), row["name"]

        return sorted(rows, key=place)

    def _row(self, name: str, found: dict[str, str] | None, states: States) -> dict[str, Any]:
        label, given = self.own_label(name), self.case(name).label is not None
        confidence = _number(found, "confidence")
        # No confidence in a line that is there: nothing was found in the scan.
        worst = -1.0 if found and confidence is None else confidence
        return {
            "name": name,
            "state": states.of(name, label) or ("labelled" if given else "unlabelled"),
            "stale": label is not None and states.stale(self.case(name)),
            "confidence": confidence,
            "volumes": {k: v for k, v in (found or {}).items() if k.endswith("(ml)") and v},
            "flags": (found or {}).get("flags", ""),
            "rank": math.inf if worst is None else worst,
        }


class States:
    """WORK/review/states.json: what was done to a scan, and which files it was done on.

    Kept as {case: {"state", "scan", "label"}} with the stamps of scan and label.
    """

    ADVICE = "Move it away: labels count as corrected then."

    def __init__(self, work: Path) -> None:
        self.path = work / "review" / "states.json"
        self.kept: dict[str, Any] = {}
        if self.path.exists():
            kept = read_object(self.path, self.ADVICE)
            self.kept = {name: entry for name, entry in kept.items() if isinstance(entry, dict)}

    def of(self, name: str, label: Path | None) -> str | None:
        """None without a label of the review's; "corrected" where another program wrote it."""
        if label is None:
            return None
        entry = self.kept.get(name, {})
        same = entry.get("label") == stamp_of([label])
        return str(entry["state"]) if same and entry.get("state") in SAVED else "corrected"

    def stale(self, case: SourceCase) -> bool:
        """Whether a scan has changed since its label was saved here, or is gone."""
        drawn_on = self.kept.get(case.name, {}).get("scan")
        try:
            return drawn_on is not None and drawn_on != scan_stamp(case)
        except OSError:
            return True

    def set(self, name: str, state: str, label: Path, scan: str) -> None:
        """Note what was done. Raises CannotWrite."""
        self.kept[name] = {"state": state, "scan": scan, "label": stamp_of([label])}
        write_json(self.path, dict(sorted(self.kept.items())))


def stamp_of(paths: Iterable[Path]) -> str:
    """Changes when any file behind the paths is touched. Raises OSError for one that is gone."""
    return stats_of([file for path in paths for file in _behind(path)])


def scan_stamp(case: SourceCase) -> str:
    """`stamp_of` a scan; of a series every slice."""
    return stats_of(case.files) if case.files else stamp_of(case.images)


def _behind(path: Path) -> list[Path]:
    try:
        return files_of(path)
    except SimcvdError:  # reading it will say what is wrong with it
        return [path]


def _classes(work: Path, source: Source) -> tuple[Class, ...]:
    """The classes of the prepared data; before there are any, those that the labels declare."""
    path = work / "cache" / "manifest.json"
    if path.is_file():
        manifest = read_object(path, CLASSES.advice)
        wanted = [field.name for field in fields(ClassNames)]
        found = CLASSES.read({name: manifest.get(name) for name in wanted}, path)
        names, values = found.class_names, found.label_values
    else:
        declared = source.labels or {0: "background", 1: "class 1"}
        names, values = dict(enumerate(declared.values())), dict(enumerate(declared))
    return tuple(
        Class(name=names[k], value=values[k], colour=class_colour(k)) for k in sorted(names)
    )


def _number(row: dict[str, str] | None, column: str) -> float | None:
    try:
        value = float((row or {}).get(column) or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
