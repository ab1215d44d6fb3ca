"""What the tool leaves for people: segmentations, scores, the report's page, the demo's folder."""

from __future__ import annotations

import shlex
import statistics
from pathlib import Path

from simcvd.files import contents
from simcvd.inference.results import ROWS, TABLE, corrected
from simcvd.inference.table import ABOUT, FLAGS, read_table
from simcvd.info.record import Info
from simcvd.report.html import PAGE
from simcvd.report.pictures import FOLDER
from simcvd.scoring.record import FILE, read_report
from simcvd.scoring.words import in_short
from simcvd.types import SimcvdError


def is_predictions(path: Path) -> bool:
    """Whether segmentations were written there."""
    return (path / TABLE).is_file() or (path / ROWS).is_dir()


def describe_predictions(path: Path) -> Info:
    """How many segmentations, how confident, and which to look at first."""
    head, rows = read_table(path / TABLE)
    known = {row["file"]: float(row["confidence"] or 0) for row in rows}
    worst = sorted(known, key=lambda file: known[file])[:5]
    gone = [file for file in known if not (path / file).exists()]
    facts = {
        "segmentations": len(rows),
        "columns": [name for name in head if name not in ABOUT],
        "median confidence": statistics.median(known.values()) if known else None,
        "least confident": {file: known[file] for file in worst},
        "with flags": sum(bool(row.get(FLAGS)) for row in rows),
        "corrected by hand": [file.name for file in corrected(path)],
    }
    state = f"not whole: {gone[0]} is gone, among {len(gone)}" if gone else "whole"
    place = shlex.quote(str(path))
    command = f"simcvd evaluate {place} REFERENCES"
    work = path.parent
    if path.name == "predictions" and (work / "run.json").is_file():
        command = f"simcvd review {shlex.quote(str(work))}"
    return Info(kind="predictions", path=path, facts=facts, state=state, next=command)


def is_scores(path: Path) -> bool:
    """Whether `simcvd evaluate` wrote there, or it is the file that it wrote."""
    return (path / FILE).is_file() or path.name == FILE


def describe_scores(path: Path) -> Info:
    """The scores in one line, and what else must be known of them."""
    folder = path.parent if path.name == FILE and path.is_file() else path
    report = read_report(folder)
    facts = {
        "scans": len(report.cases),
        "classes": list(report.classes),
        "scores": in_short(report).removeprefix("in short: "),
        "tables": str(folder / "metrics.md"),
    }
    return Info(
        kind="scores", path=path, facts=facts, state="finished", next=None, warnings=report.notes
    )


def is_page(path: Path) -> bool:
    """Whether this is a report's page."""
    return path.name == PAGE and path.is_file()


def describe_page(path: Path) -> Info:
    """That it can be opened, and what must go with it."""
    text = path.read_text(encoding="utf-8")
    if '<footer><p class="quiet">simcvd ' not in text:
        raise SimcvdError(f"{path}: is not a page of this version; make it again")
    beside = sum(file.stat().st_size for file in contents(path.parent / FOLDER))
    facts = {
        "MB": path.stat().st_size / 1e6,
        "scans": text.count('<li class="scan"'),
        "goes with it": f"{FOLDER}, {beside / 1e6:.1f} MB"
        if beside
        else "nothing: it stands alone",
    }
    state = "finished; open it in a browser, no network is needed"
    work = path.parent
    command = f"simcvd info {shlex.quote(str(work))}" if (work / "run.json").is_file() else None
    return Info(kind="page", path=path, facts=facts, state=state, next=command)


def is_demo(path: Path) -> bool:
    """Whether `simcvd demo` worked here; its scans are phantoms."""
    return (path / "scans" / "images").is_dir() and (path / "cache").is_dir()


def describe_demo(path: Path) -> Info:
    """Which of its parts are done."""
    parts = {
        "scans": (path / "scans" / "test.list").exists(),
        "prepared": (path / "cache" / "manifest.json").exists(),
        "control scored": (path / "supervised" / FILE).exists(),
        "CutMix scored": (path / "cutmix" / FILE).exists(),
        "page": (path / PAGE).exists(),
    }
    facts = {name: "yes" if done else "no" for name, done in parts.items()}
    missing = [name for name, done in parts.items() if not done]
    place = shlex.quote(str(path))
    state = f"not finished: not yet {missing[0]}; resumable" if missing else "finished"
    again = f"simcvd demo --out {place}"
    after = f"simcvd predict {shlex.quote(str(path / 'cutmix'))} SCANS --out DIR"
    return Info(kind="demo", path=path, facts=facts, state=state, next=again if missing else after)
