"""The tables of docs/reference, from the code.

A line ``[settings: method.cutmix]`` in a page becomes the table of that method's settings, from the
docstrings that stand below the fields, as ``train``, ``augment`` and ``network.vnet`` become those
of the other groups. A line ``[commands]`` becomes what ``--help`` of every command says.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from itertools import pairwise
from typing import Any, get_type_hints

from typer.main import get_command

from simcvd.cli import app
from simcvd.methods.registry import config_of, find
from simcvd.networks.build import architecture
from simcvd.ranges import Settings, ranges
from simcvd.records import describe
from simcvd.training.settings import TrainConfig
from simcvd.transforms.augment import AugmentConfig

MARK = re.compile(r"^\[settings: (\w+)(?:\.(\w+))?\]$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Tables in place of their marks."""
    markdown = markdown.replace("\n[commands]\n", f"\n{commands()}\n")
    return MARK.sub(lambda mark: table(settings(*mark.groups())), markdown)


def commands() -> str:
    """Markdown: a section a command, with a row for each argument and option."""
    return "\n\n".join(section(verb) for verb in get_command(app).commands.values())


def section(verb: Any) -> str:
    """What ``--help`` of a command says."""
    context = verb.make_context(verb.name, [], resilient_parsing=True)
    records = [part.get_help_record(context) for part in verb.params]
    rows = "\n".join(f"| `{cell(name)}` | {cell(said)} |" for name, said in records)
    return f"## simcvd {verb.name}\n\n{verb.help}\n\n| | |\n|---|---|\n{rows}"


def cell(text: str) -> str:
    """A text as a table takes it."""
    return text.replace("|", "\\|")


def settings(group: str, name: str | None) -> type[Settings]:
    """The class of a group's settings; KeyError for a group that there is not."""
    if name is None:
        return {"train": TrainConfig, "augment": AugmentConfig}[group]
    kinds = {"method": lambda: config_of(find(name)), "network": lambda: architecture(name)}
    return kinds[group]()


def table(kind: type[Settings]) -> str:
    """Markdown: a row a setting, with its type, its range, its default and its docstring."""
    said, hints, allowed = docstrings(kind), get_type_hints(kind), ranges(kind)
    rows = ["| setting | takes | default | |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        name = f"`{kind.group}.{field.name.rstrip('_')}`"
        takes = describe(hints[field.name])
        takes = takes if takes.startswith("one of") else f"`{takes}`"
        within = f", {allowed[field.name]}" if field.name in allowed else ""
        cells = (name, takes + within, f"`{field.default!r}`", said[field.name])
        rows.append("| " + " | ".join(map(cell, cells)) + " |")
    return "\n".join(rows)


def docstrings(kind: type) -> dict[str, str]:
    """{field: docstring}; the string below a field of the class, or of one that it is derived from.

    Raises ValueError for a field that has none.
    """
    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__[:-1]):
        (written,) = ast.parse(textwrap.dedent(inspect.getsource(parent))).body
        for pair in pairwise(written.body):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(text))):
                    found[name] = " ".join(text.split())
    bare = [field.name for field in dataclasses.fields(kind) if field.name not in found]
    if bare:
        raise ValueError(f"{kind.__module__}.{kind.__qualname__}: no docstring below {bare}")
    return found
