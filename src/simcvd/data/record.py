"""What the files of a cache hold: the manifest, and the record of each case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from simcvd.data.crop import Box
from simcvd.files import json_hash
from simcvd.layouts.records import SourceCase
from simcvd.naming import check_all
from simcvd.preprocessing import Number, Preprocessing
from simcvd.ranges import Range, Settings
from simcvd.records import Kind, younger
from simcvd.types import IntTriple

Sides = Annotated[IntTriple, Range(least=1)]
Millimetres = tuple[Number, Number, Number]
Spacing = Annotated[Millimetres, Range(above=0)]
Row = tuple[float, float, float, float]
Affine = Annotated[tuple[Row, Row, Row, Row], Range()]
Edges = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class CaseEntry(Settings):
    """One case in the manifest. hash: of its recipe and source files."""

    group: ClassVar[str] = "scan"
    hash: str
    shape: Sides
    spacing: Spacing
    has_label: bool


@dataclass(frozen=True, kw_only=True)
class Manifest(Settings):
    """What a cache holds.

    class_names, label_values: by class index 0..K-1; the values are those of the user's files.
    spacing: mm, of the network's grid (the median over cases if each keeps its own).
    train, test: case names in the order of the lists. cases: every name of either list.
    data_hash: changes with any image, label, list or setting; not with paths or dates.
    """

    group: ClassVar[str] = "manifest"
    source_kind: str
    source: str
    channel_names: tuple[str, ...]
    class_names: dict[int, str]
    label_values: dict[int, int]
    preprocessing: Preprocessing
    spacing: Spacing
    train: tuple[str, ...]
    test: tuple[str, ...]
    cases: dict[str, CaseEntry]
    data_hash: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_all(self.class_names.values(), "a class")
        check_all((*self.cases, *self.train, *self.test), "a scan")

    def content_hash(self) -> str:
        """What ``data_hash`` must be."""
        told = MANIFEST.content(self)
        del told["source"]
        # Keyed by numbers: 10 comes after 9.
        by_class = {"class_names": self.class_names, "label_values": self.label_values}
        return json_hash({**told, **by_class, "data_hash": ""})


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file, or all files of a series, that a scan was prepared from.

    stat: `stats_of` them then, "" where an older version did not note it.
    """

    path: str
    size: int
    mtime_ns: int
    stat: str = younger("")
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a scan was prepared from."""

    images: tuple[SourceFile, ...]
    label: SourceFile | None


@dataclass(frozen=True, kw_only=True)
class LabelFile:
    """Where a label lies and how it is read; the fields as `SourceCase` has them."""

    path: str
    masks: tuple[tuple[int, str], ...]
    values: tuple[tuple[int, int], ...]
    resample: bool

    @classmethod
    def of(cls, case: SourceCase) -> LabelFile | None:
        """None for a scan without a label."""
        if case.label is None:
            return None
        return cls(
            path=str(case.label.absolute()),
            masks=tuple((value, str(path.absolute())) for value, path in case.masks),
            values=case.values,
            resample=case.resample_label,
        )

    def case(self, name: str) -> SourceCase:
        """The scan called so, as far as its label goes."""
        return SourceCase(
            name=name,
            images=(),
            label=Path(self.path),
            masks=tuple((value, Path(path)) for value, path in self.masks),
            values=self.values,
            resample_label=self.resample,
        )


@dataclass(frozen=True, kw_only=True)
class CaseRecord(Settings):
    """``case.json``: what a scan was made of and how, and where it lay in its file.

    hash: of recipe and sources. source_shape, source_affine: of the scan in its file; box: what of
    it was prepared, None for all. shape, affine, spacing: of what was made of it. label_found: the
    values in its label. files, checksums: of the arrays, by name.
    """

    group: ClassVar[str] = "case"
    name: str
    hash: str
    recipe: dict[str, Any]
    sources: Sources
    source_shape: Sides
    source_affine: Affine
    box: tuple[Edges, Edges, Edges] | None = younger(None)
    shape: Sides
    affine: Affine
    spacing: Spacing
    notes: tuple[str, ...] = younger(())
    patient: str = younger("")
    label: LabelFile | None = younger(None)
    label_found: tuple[int, ...] | None = younger(None)
    files: dict[str, int]
    checksums: dict[str, str] | None = younger(None)

    @property
    def part(self) -> Box:
        """The box as slices."""
        x, y, z = self.box or ((0, side) for side in self.source_shape)
        return slice(*x), slice(*y), slice(*z)


MANIFEST = Kind(name="a manifest", record=Manifest, advice="Prepare again into a new folder.")
CASE = Kind(name="a prepared scan", record=CaseRecord, advice="Run `simcvd prepare` again.")
