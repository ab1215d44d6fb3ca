"""No advice that fails: every command that a message names exists, with the options it names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from tests.pages import PAGES, READ_FIRST

import simcvd
from simcvd.cli import app

SOURCE = Path(simcvd.__file__).parent
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# A command to type: in backticks, or a verb behind the name in a text that is one.
QUOTED = re.compile(r"`simcvd ([^`]*)`")
BARE = re.compile(r"(?:^|next: |run: |    )simcvd ([a-z]+ [^`\n]+)")


def _texts(file: Path) -> Iterator[str]:
    """Strings of a module, docstrings too; what is filled in stands as X."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "X" for v in node.values]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.List) and node.elts:
            words = [e.value if isinstance(e, ast.Constant) else "X" for e in node.elts]
            if words[0] == "simcvd":
                yield " ".join(map(str, words))


def _advice() -> list[str]:
    files = [*SOURCE.rglob("*.py")]
    found = {
        one.strip()
        for file in files
        for text in _texts(file)
        for pattern in (QUOTED, BARE)
        for one in pattern.findall(text)
    }
    pages = [*PAGES, *READ_FIRST]
    written = {one for page in pages for one in QUOTED.findall(page.read_text(encoding="utf-8"))}
    return sorted(found | written)


@pytest.mark.parametrize("advice", _advice())
def test_a_command_that_is_named_exists(advice: str) -> None:
    verb, *words = advice.split()
    if verb.startswith("-"):
        assert verb in ("-h", "--help", "--version")
        return
    assert verb in COMMANDS, advice
    options = {name for one in COMMANDS[verb].params for name in (*one.opts, *one.secondary_opts)}
    named = {re.sub(r"[^-a-z].*", "", word.strip("[].,")) for word in words if "-" in word[:2]}
    unknown = {name for name in named if name.startswith("--") and len(name) > 2} - options
    assert unknown <= {"--help"}, advice


def test_much_advice_is_looked_at() -> None:
    assert len(_advice()) > 50


def test_the_usage_line_has_the_usual_form() -> None:
    with COMMANDS["predict"].make_context("simcvd predict", [], resilient_parsing=True) as context:
        usage = COMMANDS["predict"].get_usage(context)
    assert usage == "Usage: simcvd predict [OPTIONS] MODEL SCANS..."
