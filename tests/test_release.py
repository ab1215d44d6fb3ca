"""What is said of a version in several places is the same in all of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from simcvd import __version__

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_citation_and_changelog_are_of_this_version() -> None:
    """The newest section of the changelog is this version's, and it came out on one day."""
    cited = yaml.safe_load(read("CITATION.cff"))
    newest = re.search(r"^## (\S+) \((\S+)\)$", read("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert newest.groups() == (cited["version"], str(cited["date-released"]))
    assert cited["version"] == __version__


def test_the_same_versions_of_python_everywhere() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    prefix = "Programming Language :: Python :: 3."
    listed = [int(c.removeprefix(prefix)) for c in project["classifiers"] if c.startswith(prefix)]
    first, last = min(listed), max(listed)
    assert listed == list(range(first, last + 1))
    assert project["requires-python"] == f">=3.{first},<3.{last + 1}"
    assert f"(3, {first}) <= sys.version_info < (3, {last + 1})" in read("Makefile")
    for page in ("README.md", "docs/tutorial.md", "Makefile"):
        assert f"Python 3.{first} to 3.{last}" in read(page), page
