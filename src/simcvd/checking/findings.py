"""What `simcvd check` finds, as data; and how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from simcvd.escape import lines, one_line
from simcvd.layouts.accounts import summary as file_summary
from simcvd.layouts.records import FileUse, Use
from simcvd.records import as_json
from simcvd.types import SimcvdError
from simcvd.wording import counted, few

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

USES = get_args(Use)
# Names of files in use that a row of the table shows; those passed over are all named.
SHOWN = 40
# More files of one folder than this are counted.
SERIES = 7

Severity = Literal["error", "warning"]
Kind = Literal[
    "layout",
    "unreadable",
    "not finite",
    "corrected",
    "axes",
    "orientation",
    "left-right",
    "geometry",
    "label values",
    "empty label",
    "outlier spacing",
    "outlier size",
    "outlier intensity",
    "duplicate",
    "small object",
    "patient in both",
    "cropped by label",
    # Of a prepared data set alone, where scans are known by their voxels.
    "test scan in training",
    "same image twice",
]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem. fixable: `--fix` can mend it.

    scan, file: which, or "" for the data set. cases: the scans concerned, where they are several.
    """

    severity: Severity
    kind: Kind
    message: str
    scan: str = ""
    file: str = ""
    fixable: bool = False
    cases: tuple[str, ...] = ()


class Notes:
    """Collects the findings of one scan."""

    def __init__(self, scan: str) -> None:
        self.scan = scan
        self.findings: list[Finding] = []

    def add(
        self, severity: Severity, kind: Kind, file: Path, message: str, *, fixable: bool = False
    ) -> None:
        """Note one problem of a file."""
        self.findings.append(
            Finding(
                severity=severity,
                kind=kind,
                scan=self.scan,
                file=str(file),
                message=message,
                fixable=fixable,
            )
        )

    @contextmanager
    def errors(self, kind: Kind, file: Path) -> Iterator[None]:
        """Note a SimcvdError as an error, and go on."""
        try:
            yield
        except SimcvdError as error:
            self.add("error", kind, file, str(error))


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """All findings on a data set, errors first, then by scan.

    files: what became of every file. notes: what was not looked at.
    """

    source: str
    description: str
    scans: int
    labeled: int
    seconds: float
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    files: tuple[FileUse, ...] = ()

    @property
    def errors(self) -> int:
        """How many findings must be mended before training."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings deserve a look."""
        return len(self.findings) - self.errors

    def to_json(self) -> dict[str, Any]:
        """A dictionary with everything in it."""
        return {**as_json(self), "errors": self.errors, "warnings": self.warnings}


def show(report: CheckReport, console: Console, *, files: bool = False) -> None:
    """The report on screen: a table of the findings, then a few lines that sum it up.

    files: with a table of what became of every file before it.
    """
    if files and report.files:
        console.print(_file_table(report))
    if report.findings:
        console.print(_finding_table(report))
    said = [summary(report), file_summary(report.files), *report.notes]
    console.print(lines("\n".join(said)), markup=False, highlight=False, soft_wrap=True)


def _finding_table(report: CheckReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "kind", "scan", "finding", show_lines=False)
    for one in report.findings:
        colour = "red" if one.severity == "error" else "yellow"
        text = one_line(one.message.replace(f"{report.source.rstrip('/')}/", ""))
        message = Text(text + (" [--fix mends it]" if one.fixable else ""))
        table.add_row(Text(one.severity, colour), one.kind, Text(one_line(one.scan)), message)
    return table


def _file_table(report: CheckReport) -> Table:
    """A row for every use and reason in each folder of the source, with the files' names."""
    from rich.table import Table
    from rich.text import Text

    rows: dict[tuple[int, str, str], list[Path]] = {}
    for one in report.files:
        what = f"{one.use}: {one.what}" if one.use == "passed over" else one.use
        place, rest = _placed(report, one.path)
        rows.setdefault((USES.index(one.use), what, place), []).append(rest)
    table = Table("files", "number", "where", "names", show_lines=False)
    for (use, what, place), files in sorted(rows.items()):
        names = _names(files)
        shown = ", ".join(names) if USES[use] == "passed over" else few(names, SHOWN)
        table.add_row(Text(what), str(len(files)), Text(one_line(place)), Text(one_line(shown)))
    return table


def _placed(report: CheckReport, path: Path) -> tuple[str, Path]:
    """The outermost folder of a file in the source, and its place there."""
    try:
        inner = path.relative_to(report.source)
    except ValueError:
        return f"{path.parent}/", Path(path.name)
    first, *rest = inner.parts or (".",)
    return (f"{first}/", Path(*rest)) if rest else ("./", inner)


def _names(files: Sequence[Path]) -> list[str]:
    """Names in order; many files of one folder below are counted, as those of a DICOM series."""
    folders = Counter(path.parent for path in files)
    many = {folder for folder, count in folders.items() if count > SERIES and folder != Path()}
    names = [
        f"{p.parent}/ ({folders[p.parent]} files)" if p.parent in many else str(p) for p in files
    ]
    return list(dict.fromkeys(names))


def summary(report: CheckReport) -> str:
    """What was read, how long it took, and the findings counted by kind."""
    kinds = Counter(f"{one.kind} ({one.severity})" for one in report.findings)
    by_kind = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return (
        f"{report.source}: {report.description}; {counted(report.scans, 'scan')}, "
        f"{report.labeled} with a label, read in {report.seconds:.1f} s.\n"
        f"{counted(report.errors, 'error')}, "
        f"{counted(report.warnings, 'warning')}{': ' + by_kind if by_kind else ''}."
    )
