"""A plan as a short TOML file: each choice below the reason for it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from textwrap import wrap
from typing import Any

from simcvd.files import UTF8, parse_toml, write_text
from simcvd.planning.record import Plan
from simcvd.records import Kind
from simcvd.types import SimcvdError

HEAD = """\
# A plan of simcvd. Every line may be changed; the line above it says why it is as it is.
#   simcvd prepare SCANS --out CACHE --plan THIS-FILE
#   simcvd train CACHE --labeled N --out RUN --plan THIS-FILE
"""
WIDTH = 96
WARNING = "# WARNING: "
PLAN = Kind(
    name="a plan",
    record=Plan,
    advice="Correct it, or make the plan again with `simcvd plan`.",
    whole=False,
)
CHOICES = tuple(f.name for f in fields(Plan) if f.name not in ("reasons", "warnings"))


def write_plan(plan: Plan, path: Path | str) -> None:
    """Write a plan that `read_plan` reads back as the same."""
    write_text(path, as_toml(plan))


def as_toml(plan: Plan) -> str:
    """The text of a plan's file."""
    memory = f"# A training step takes about {plan.memory_bytes / 2**30:.1f} GB in float32."
    lines = [HEAD + memory, *(WARNING + warning for warning in plan.warnings)]
    for name in CHOICES:
        value = getattr(plan, name)
        if value is not None:
            reason = wrap(plan.reasons.get(name, ""), WIDTH)
            lines += ["", *(f"# {line}" for line in reason), f"{name} = {_toml(value)}"]
    return "\n".join(lines) + "\n"


def read_plan(path: Path | str) -> Plan:
    """The plan in a file, whoever edited it.

    Raises SimcvdError for a name it does not know, a missing one, or a value that does not fit.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding=UTF8)
        values = parse_toml(text)
    except (OSError, ValueError) as error:
        raise SimcvdError(
            f"{path}: cannot be read as a plan ({error}); give a file that `simcvd plan` wrote"
        ) from error
    lines = text.splitlines()
    warnings = tuple(line.removeprefix(WARNING) for line in lines if line.startswith(WARNING))
    return PLAN.read({"reasons": _reasons(lines), "warnings": warnings, **values}, path)


def _reasons(lines: list[str]) -> dict[str, str]:
    """The comment right above each choice."""
    found: dict[str, str] = {}
    comment: list[str] = []
    for line in lines:
        name = re.match(r"(\w+)\s*=", line)
        if name and comment:
            found[name[1]] = " ".join(comment)
        comment = [*comment, line.removeprefix("# ")] if line.startswith("# ") else []
    return found


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
