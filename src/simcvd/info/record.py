"""What `simcvd info` says, whatever it is about."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simcvd.escape import one_line
from simcvd.records import as_json


@dataclass(frozen=True, kw_only=True)
class Info:
    """A description of one file or folder.

    kind: one of `KINDS`. facts: {name: plain value}.
    state: how far it is, in words. next: a command, or None where there is none to propose.
    warnings: sentences.
    """

    kind: str
    path: Path
    facts: dict[str, Any]
    state: str
    next: str | None = None
    warnings: tuple[str, ...] = field(default=())

    def to_json(self) -> str:
        """A JSON object with the fields of the record."""
        return json.dumps(as_json(self), indent=1)

    def to_text(self) -> str:
        """For a screen; no name in it, a stranger's among them, begins a line of its own."""
        width = max(map(len, self.facts), default=0)
        lines = [f"{self.path}: {KINDS[self.kind]}"]
        lines += [f"  {name:<{width}}  {_plain(value)}" for name, value in self.facts.items()]
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"state: {self.state}", *([f"next: {self.next}"] if self.next else [])]
        return "\n".join(map(one_line, lines))


KINDS = {
    "run": "a training",
    "cache": "prepared scans",
    "plan": "a plan",
    "model": "a model",
    "benchmark": "the results of a benchmark",
    "work": "a folder of `simcvd run`",
    "predictions": "segmentations",
    "scores": "scores",
    "page": "the page of a report",
    "demo": "a folder of `simcvd demo`",
}


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
