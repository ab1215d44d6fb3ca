"""One rule for names, and no path outside the folder it was asked for."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from simcvd.naming import LONGEST, checked, fault, inside, normal, shown
from simcvd.types import SimcvdError

BAD = [
    "",
    " ",
    ".",
    "..",
    ".hidden",
    "../../x",
    "a/b",
    "a\\b",
    "a\nb",
    "a\x1b[31m",
    "a\x00b",
    "a\x85b",
    "a\u2028b",
    "\udcff",
    "x" * (LONGEST + 1),
    "\u00e9" * (LONGEST // 2 + 1),
    unicodedata.normalize("NFD", "é"),
]


@pytest.mark.parametrize("name", ["p1", "a b", "P-1_2.3", "é", "患者1", "a=b$c|d", "x" * LONGEST])
def test_names(name: str, tmp_path: Path) -> None:
    assert fault(name) is None
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match=r"^a scan: the name .* Give it another name\.$"):
        checked(name, "a scan")
    with pytest.raises(SimcvdError):
        inside(tmp_path, name)
    assert shown(name).isprintable()


def test_a_name_of_another_type_is_none() -> None:
    assert fault(7) == "is no text but int"  # type: ignore[arg-type]


def test_accents_of_macos_become_those_of_others() -> None:
    assert normal("e\u0301") == "\u00e9"


def test_links_that_lead_outside_are_refused(tmp_path: Path) -> None:
    folder, victim = tmp_path / "cache", tmp_path / "victim"
    folder.mkdir()
    victim.mkdir()
    (folder / "p1").symlink_to(victim)
    with pytest.raises(SimcvdError, match="lies outside"):
        inside(folder, "p1")
    (folder / "p2").mkdir()
    (folder / "p3").symlink_to(folder / "p2")
    assert inside(folder, "p3") == folder / "p3"
