"""What `simcvd check` finds, as data; and how it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from simcvd.data.cache import write_json
from simcvd.types import SimcvdError
from simcvd.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

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
    "patient in both",
    "cropped by label",
]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem. scan, file: which, or "" for the data set. fixable: `--fix` can mend it."""

    severity: Severity
    kind: Kind
    scan: str
    file: str
    message: str
    fixable: bool = False


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
    """All findings on a data set, errors first, then by scan. notes: what was not looked at."""

    source: str
    description: str
    scans: int
    labeled: int
    seconds: float
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

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
        return {**asdict(self), "errors": self.errors, "warnings": self.warnings}


def save(report: CheckReport, path: Path) -> None:
    """Write the report as JSON. Raises SimcvdError if it cannot be written."""
    write_json(path, report.to_json())


def show(report: CheckReport, console: Console) -> None:
    """The report on screen: one table, then one line that sums it up."""
    from rich.table import Table
    from rich.text import Text

    if report.findings:
        table = Table("", "kind", "scan", "finding", show_lines=False)
        for one in report.findings:
            colour = "red" if one.severity == "error" else "yellow"
            short = one.message.replace(f"{report.source.rstrip('/')}/", "")
            message = Text(short + (" [--fix mends it]" if one.fixable else ""))
            table.add_row(Text(one.severity, colour), one.kind, Text(one.scan), message)
        console.print(table)
    lines = [summary(report), *report.notes]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


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
