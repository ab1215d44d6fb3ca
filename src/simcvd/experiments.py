"""The rows of the paper's five tables, as data: what is trained, and what the paper measured.

A row is a method and what is changed in it, an ablation being one changed field. The same
training in two tables has the same ``id`` and is run once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import nan
from typing import Literal, NamedTuple

from simcvd.methods.registry import find, names
from simcvd.scoring.titles import method_title
from simcvd.types import SimcvdError
from simcvd.wording import did_you_mean


class Numbers(NamedTuple):
    """A row of the paper: Dice and Jaccard in %, ASD and 95HD in voxels."""

    dice: float
    jaccard: float
    asd: float
    hd95: float


Data = Literal["la", "pancreas"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system.

    id: its name in folders; title: its name in the table. settings: for ``train --set``.
    at: settings that hold for one number of labelled scans only.
    mean_of: rows whose trained weights are averaged; such a row is not trained itself.
    paper: the paper's numbers by number of labelled scans.
    """

    id: str
    title: str
    method: str
    settings: tuple[str, ...] = ()
    at: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    mean_of: tuple[Row, ...] = ()
    paper: Mapping[int, Numbers] = field(default_factory=dict)

    def settings_for(self, labeled: int) -> tuple[str, ...]:
        """All that is changed when ``labeled`` scans are labelled."""
        return (*self.at.get(labeled, ()), *self.settings)

    @property
    def cost(self) -> float:
        """Time of an iteration as a multiple of the supervised method's, roughly; see `Method`."""
        return 0.0 if self.mean_of else find(self.method).cost


class Table(NamedTuple):
    """One table of the paper. data: whose numbers; control: the row others are held against."""

    number: str
    title: str
    data: Data
    control: str
    rows: tuple[Row, ...]


AS_THE_PAPER_HAS_IT = {"supervised": "V-Net"}
# SASSNet's own choice for 16 labelled scans of LA; its default is that for 8.
_AT = {"sassnet": {16: ("method.weight=0.01",)}}


_SIMCVD_8 = (89.03, 80.34, 2.59, 8.34)
_TABLE_1 = {
    "supervised": {
        80: (91.14, 83.82, 1.52, 5.75),
        16: (86.03, 76.06, 3.51, 14.26),
        8: (79.99, 68.12, 5.48, 21.11),
    },
    "dan": {16: (87.52, 78.29, 2.42, 9.01), 8: (75.11, 63.47, 3.57, 19.04)},
    "cps": {16: (87.87, 78.61, 2.16, 12.87), 8: (84.09, 73.17, 2.41, 22.55)},
    "mean_teacher": {16: (88.42, 79.45, 2.73, 13.07), 8: (84.24, 73.26, 2.71, 19.41)},
    "entropy_minimization": {16: (88.45, 79.51, 3.72, 14.14), 8: (85.90, 75.60, 2.74, 18.65)},
    "ua_mt": {16: (88.88, 80.21, 2.26, 7.32), 8: (84.25, 73.48, 3.36, 13.84)},
    "ict": {16: (89.02, 80.34, 1.97, 10.38), 8: (85.39, 74.84, 2.88, 17.45)},
    "sassnet": {16: (89.27, 80.82, 3.13, 8.83), 8: (86.81, 76.92, 3.94, 12.54)},
    "dtc": {16: (89.42, 80.98, 2.10, 7.32), 8: (87.49, 78.03, 2.37, 9.06)},
    "chaitanya": {16: (89.94, 81.82, 2.66, 7.23), 8: (84.95, 74.77, 3.70, 10.68)},
    "simcvd": {16: (90.85, 83.80, 1.86, 6.03), 8: _SIMCVD_8},
}
_TABLE_2 = {
    "supervised": {62: (77.84, 64.78, 3.73, 8.92), 12: (62.42, 48.06, 4.77, 22.34)},
    "mean_teacher": {12: (71.29, 56.69, 2.82, 16.31)},
    "dan": {12: (68.67, 53.97, 3.07, 15.78)},
    "cps": {12: (69.28, 54.02, 3.07, 15.34)},
    "entropy_minimization": {12: (69.33, 54.32, 2.92, 15.29)},
    "ua_mt": {12: (72.43, 57.91, 4.25, 11.01)},
    "ict": {12: (70.06, 55.66, 2.98, 13.05)},
    "sassnet": {12: (70.47, 55.74, 4.26, 10.95)},
    "dtc": {12: (74.07, 60.17, 2.61, 10.35)},
    "chaitanya": {12: (70.79, 55.76, 6.08, 15.35)},
    "simcvd": {12: (75.39, 61.56, 2.33, 9.84)},
}


# id, title, the one changed field of SimCVD's Config ("" for none), the paper's numbers.
_Variant = tuple[str, str, str, float, float, float, float]
_COMPONENTS: tuple[_Variant, ...] = (
    ("simcvd-no-sdm", "SimCVD w/o SDM", "boundary=probability", 88.24, 79.07, 4.19, 11.43),
    ("simcvd-max", "SimCVD w/ adaptive max pooling", "pooling=max", 88.32, 79.26, 3.79, 14.69),
    ("simcvd-no-contrast", "SimCVD w/o L_contrast", "lambda=0", 85.13, 74.57, 5.97, 16.61),
    ("simcvd-no-pd", "SimCVD w/o L_pd", "beta=0", 88.11, 78.89, 2.89, 12.58),
    ("simcvd-no-sdm-loss", "SimCVD w/o L_sdm", "alpha=0", 88.85, 80.03, 2.71, 9.02),
    ("simcvd", "SimCVD", "", *_SIMCVD_8),
)
_HEAD: tuple[_Variant, ...] = (
    ("simcvd-p0", "p = 0.0", "dropout=0.0", 87.69, 78.23, 2.49, 11.03),
    ("simcvd-p0.01", "p = 0.01", "dropout=0.01", 87.98, 78.69, 3.08, 11.17),
    ("simcvd-p0.02", "p = 0.02", "dropout=0.02", 87.99, 78.70, 2.60, 9.03),
    ("simcvd-p0.05", "p = 0.05", "dropout=0.05", 88.01, 78.71, 2.78, 10.60),
    ("simcvd", "p = 0.1", "", *_SIMCVD_8),
    ("simcvd-p0.2", "p = 0.2", "dropout=0.2", 88.10, 78.86, 3.28, 12.70),
    ("simcvd-p0.5", "p = 0.5", "dropout=0.5", 86.67, 76.59, 4.20, 14.89),
    # The 95HD of this row is lost in the copy of the paper that we transcribed.
    ("simcvd-pool16", "16 x 16", "pool=16", 87.04, 77.22, 3.69, nan),
    ("simcvd-pool32", "32 x 32", "pool=32", 87.53, 77.98, 3.13, 11.56),
    ("simcvd-pool64", "64 x 64", "pool=64", 88.37, 79.27, 2.75, 8.84),
    ("simcvd", "128 x 128", "", *_SIMCVD_8),
    ("simcvd-pool256", "256 x 256", "pool=256", 87.99, 78.71, 2.82, 9.97),
)
_VIEWS: tuple[_Variant, ...] = (
    ("simcvd", "SimCVD", "", *_SIMCVD_8),
    ("simcvd-shuffle", "+ Local shuffle pixel", "views=shuffle", 88.15, 78.97, 1.96, 8.66),
    ("simcvd-nonlinear", "+ Non-linear intensity", "views=nonlinear", 88.02, 78.80, 2.68, 10.29),
    ("simcvd-inpainting", "+ In-painting", "views=inpainting", 88.37, 79.26, 2.84, 10.97),
    ("simcvd-outpainting", "+ Out-painting", "views=outpainting", 88.24, 79.07, 2.58, 10.62),
)


def row_title(method: str) -> str:
    """What the row of a method is called, in the paper's words where it has some."""
    return AS_THE_PAPER_HAS_IT.get(method) or method_title(method)


def _methods(numbers: Mapping[str, Mapping[int, tuple[float, ...]]]) -> tuple[Row, ...]:
    return tuple(
        replace(
            _plain(name),
            paper={labeled: Numbers(*values) for labeled, values in by_labels.items()},
        )
        for name, by_labels in numbers.items()
    )


def _variants(variants: tuple[_Variant, ...]) -> tuple[Row, ...]:
    return tuple(
        Row(
            id=name,
            title=title,
            method="simcvd",
            settings=(f"method.{setting}",) if setting else (),
            paper={8: Numbers(*numbers)},
        )
        for name, title, setting, *numbers in variants
    )


def _plain(method: str) -> Row:
    """A method with nothing changed, without numbers."""
    return Row(id=method, title=row_title(method), method=method, at=_AT.get(method, {}))


# "Baseline" of Table III carries Mean Teacher's numbers of Table I.
_BASELINE = replace(
    _plain("mean_teacher"), title="Baseline", paper={8: Numbers(*_TABLE_1["mean_teacher"][8])}
)
TABLES = {
    table.number: table
    for table in (
        Table(
            "I",
            "all methods, in the paper on the left atrium",
            "la",
            "supervised",
            _methods(_TABLE_1),
        ),
        Table(
            "II",
            "all methods, in the paper on the pancreas",
            "pancreas",
            "supervised",
            _methods(_TABLE_2),
        ),
        Table(
            *("III", "SimCVD's components and losses", "la", "simcvd"),
            (_BASELINE, *_variants(_COMPONENTS)),
        ),
        Table("IV", "SimCVD's head: dropout, pooling size", "la", "simcvd", _variants(_HEAD)),
        Table("V", "SimCVD's views", "la", "simcvd", _variants(_VIEWS)),
    )
}


def select(wanted: Iterable[str]) -> list[Row]:
    """The rows of tables, methods and rows by name, each once, in the order asked for.

    A name is a table ("I" to "V"), "methods" for every file of ``simcvd/methods``, a row's id, a
    method's name, or any of the latter two with settings of its own: ``simcvd+method.lambda=0.1``.
    ``mean(supervised,cutmix)`` is the mean of the weights of rows. An unknown name is refused with
    the near misses.
    """
    rows: dict[str, Row] = {}
    for name in wanted:
        for row in _named(name):
            rows.setdefault(row.id, row)
    return list(rows.values())


def sections(wanted: Iterable[str]) -> list[tuple[str, str, tuple[Row, ...]]]:
    """Title, control's id and rows of each table to be written, in the paper's order.

    Rows that are in no table asked for stand together in a section of their own.
    """
    found, loose = [], []
    for name in wanted:
        if name in TABLES:
            table = TABLES[name]
            found.append((f"Table {name}: {table.title}", table.control, table.rows))
        else:
            loose += _named(name)
    if loose:
        rows = tuple({row.id: row for row in loose}.values())
        ids = {row.id for row in rows}
        control = "supervised" if "supervised" in ids else rows[0].id
        found.append(("Methods", control, rows))
    return found


def paper_numbers(data: str | None, row: str, labeled: int) -> Numbers | None:
    """What the paper measured on these data, if it did."""
    for table in TABLES.values():
        for candidate in table.rows:
            if table.data == data and candidate.id == row and labeled in candidate.paper:
                return candidate.paper[labeled]
    return None


def listing() -> str:
    """Every method and every row of the five tables, as text."""
    lines = ["Methods:", *(f"  {row.id:<22}{row.title}" for row in _named("methods"))]
    for table in TABLES.values():
        lines += ["", f"Table {table.number}: {table.title}"]
        for row in table.rows:
            counts = ", ".join(f"{n}: {numbers.dice:.2f}" for n, numbers in row.paper.items())
            changed = " ".join(row.settings)
            lines.append(f"  {row.id:<22}{row.title:<32}{changed:<30}Dice by labels {counts}")
    return "\n".join(lines)


def _named(name: str) -> list[Row]:
    if name in TABLES:
        return list(TABLES[name].rows)
    if name == "methods":
        return [_plain(method) for method in (*_TABLE_1, *sorted(set(names()) - set(_TABLE_1)))]
    name = name.replace(" ", "")
    if name.startswith("mean(") and name.endswith(")"):
        return [_mean(name, name[len("mean(") : -1].split(";" if ";" in name else ","))]
    base, *settings = name.split("+")
    row = _by_id().get(base) or (_plain(base) if base in names() else None)
    if row is None:
        known = [*TABLES, "methods", *_by_id(), *names()]
        raise SimcvdError(f"there is no row, table or method {base!r}; {did_you_mean(base, known)}")
    if not settings:
        return [row]
    if "/" in name or not all("=" in setting for setting in settings):
        raise SimcvdError(f"{name!r}: write a row of your own as row+method.field=value")
    own = "+".join((row.id, *settings))
    return [replace(row, id=own, title=own, settings=(*row.settings, *settings), paper={})]


def _mean(name: str, parts: list[str]) -> Row:
    rows = [row for part in parts for row in _named(part)]
    if len(rows) < 2:
        raise SimcvdError(f"{name!r}: give two rows or more, mean(supervised,cutmix)")
    return Row(id=name, title=name, method=rows[0].method, mean_of=tuple(rows))


def _by_id() -> dict[str, Row]:
    """The first row of each id, Table I's before the others'."""
    rows: dict[str, Row] = {}
    for table in TABLES.values():
        for row in table.rows:
            rows.setdefault(row.id, row)
    return rows
