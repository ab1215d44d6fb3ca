"""The code blocks of the docs, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from simcvd.cli import app, joined
from simcvd.cli.arguments import present

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
READ_FIRST = sorted(ROOT.glob("*.md"))
FENCE = re.compile(r"^ *```(\w*)$")
WHY = re.compile(r"^<!-- not run: (.+) -->$")
# What may stand before `simcvd` in a line, with its own arguments.
BEFORE = ("ssh", "srun", "torchrun", "docker run")
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*$")


@dataclass(frozen=True)
class Block:
    """A code block: where it begins, its language and text; why it is not run, or ""."""

    page: Path
    line: int
    language: str
    text: str
    why: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, and as one of no language what is indented by four spaces."""
    lines = page.read_text(encoding="utf-8").splitlines()
    kept: list[str] | None = None
    before = why = language = ""
    begins = 0
    for number, line in enumerate(lines, 1):
        if (fence := FENCE.match(line)) and kept is None:
            kept, language, begins = [], fence[1], number
            why = found[1] if (found := WHY.match(before)) else ""
        elif fence and kept is not None:
            yield Block(page, begins, language, "\n".join(kept), why)
            kept = None
        elif kept is not None:
            kept.append(line)
        elif line.startswith("    simcvd "):
            yield Block(page, number, "", _continued(lines[number - 1 :]), "")
        before = line


def commands(text: str) -> Iterator[list[str]]:
    """The command lines of a block, as a shell divides them into words."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def of_simcvd(words: list[str]) -> list[str] | None:
    """What follows `simcvd` in a command line; None where another program is called."""
    while words and ASSIGNMENT.match(words[0]):
        words = words[1:]
    led = " ".join(words).startswith(BEFORE)
    for place, word in enumerate(words):
        if word == "simcvd.cli" or word.rpartition("/")[2] == "simcvd":
            return words[place + 1 :]
        if not led:
            return None
    return None


def parse(arguments: list[str]) -> None:
    """Takes a command line apart as the program does, and calls nothing.

    Raises click's exceptions for a verb or an option that there is not, or a missing argument.
    """
    group: Any = get_command(app)
    try:
        context = group.make_context("simcvd", joined(present(list(arguments))))
        name, verb, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        verb.make_context(name, rest, parent=context)
    except typer.Exit:
        return  # help and version


def _continued(lines: list[str]) -> str:
    """The first of these lines with those that its backslashes ask for."""
    taken = next(n for n, line in enumerate(lines, 1) if not line.endswith("\\"))
    return "\n".join(lines[:taken])
