"""The examples in docstrings run, and the parts that can be used alone have some."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
MARK = ">>> "
PARTS = ("losses", "metrics", "transforms")


class Documented(NamedTuple):
    """A docstring with examples: its module, what it belongs to, its text and where it begins."""

    module: str
    owner: str
    text: str
    line: int


def documented(path: Path) -> Iterator[Documented]:
    """The docstrings of a module that hold examples."""
    module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            if MARK in text:
                owner = getattr(node, "name", "")
                yield Documented(module, owner, text, node.body[0].lineno)


ALL = [found for path in sorted((ROOT / "src").rglob("*.py")) for found in documented(path)]


@pytest.mark.parametrize("found", ALL, ids=lambda found: f"{found.module}.{found.owner}")
def test_examples_give_what_they_say(found: Documented) -> None:
    names = {"np": np, "torch": torch, **vars(import_module(found.module))}
    name = f"{found.module}.{found.owner}"
    test = doctest.DocTestParser().get_doctest(found.text, names, name, found.module, found.line)
    said: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        done = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert done.attempted > 0
    assert not done.failed, "".join(said)


def parts() -> list[str]:
    """The modules of losses, metrics and transforms that the reference lists."""
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    return re.findall(rf"^::: (simcvd\.(?:{'|'.join(PARTS)})\.\w+)$", page, re.MULTILINE)


@pytest.mark.parametrize("module", parts())
def test_every_public_function_is_called_in_an_example(module: str) -> None:
    found = import_module(module)
    functions = {
        name
        for name, value in vars(found).items()
        if inspect.isfunction(value) and value.__module__ == module and not name.startswith("_")
    }
    examples = " ".join(each.text for each in ALL if each.module == module)
    shown = {name for name in functions if re.search(rf"(>>>|\.\.\.).*\b{name}\(", examples)}
    assert functions
    assert shown == functions
