"""A hostile name in every place it can be shown: what comes out is text and nothing else."""

from __future__ import annotations

import csv
import io
import os
import sys

import pytest

from simcvd.escape import csv_text, figure, latex, lines, markdown, one_line, prepare_streams


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("left atrium", "left atrium"),
        ("Vorhof, links: 5 µm²", "Vorhof, links: 5 µm²"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\x9bb", r"a\x9bb"),  # ESC [ in one character
        ("a\nstate: finished", r"a\x0astate: finished"),
        ("a\u2028b", r"a\u2028b"),
        ("a\u202eb", r"a\u202eb"),  # shows gpj.exe as exe.jpg
        (os.fsdecode(b"a\xffb"), r"a\xffb"),
    ],
)
def test_a_terminal_gets_one_line_of_text(name: str, shown: str) -> None:
    assert one_line(name) == shown
    shown.encode("utf-8")


def test_our_own_line_breaks_stay() -> None:
    assert lines("two failed\n  a\x1b[0m\n  b") == "two failed\n  a\\x1b[0m\n  b"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2", "-2"),
        ("-1.5e-3", "-1.5e-3"),
        ("-patient", "'-patient"),
        ('a,b"c', 'a,b"c'),
        ("two\nlines", "two\\x0alines"),
        (-3, "-3"),
        (None, ""),
    ],
)
def test_a_spreadsheet_gets_no_formula(cell: object, written: str) -> None:
    text = csv_text([["name", cell]])
    assert next(csv.reader(io.StringIO(text))) == ["name", written]
    assert csv_text([["name", written]]) == text or cell is None  # nothing is escaped twice


def test_markdown_shows_a_name_as_it_is() -> None:
    name = "a|b `c` [d](http://e) <img src=x> *f*\n# g"
    assert markdown(name) == r"a\|b \`c\` \[d\](http://e) \<img src=x\> \*f\*\\x0a# g"
    assert markdown("left_atrium 2") == "left_atrium 2"


def test_latex_gets_no_command_and_no_paragraph() -> None:
    assert latex("\\input{/etc/passwd} $x$ 5 %\n\nb") == (
        r"\textbackslash{}input\{/etc/passwd\} \$x\$ 5 \% "[:-1]
        + r"\textbackslash{}x0a\textbackslash{}x0ab"
    )


@pytest.mark.parametrize("name", ["cost $5$", r"$\frac{$", "$$$", os.fsdecode(b"\xff"), "\x1b"])
def test_matplotlib_draws_a_name_and_no_mathematics(name: str) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(2, 1))
    text = drawing.text(0, 0.5, figure(name))
    drawing.savefig(io.BytesIO(), format="png")
    assert "$" not in figure(name).replace(r"\$", "")
    assert text.get_text() == figure(name)


def test_an_ascii_terminal_gets_another_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    prepare_streams()
    print("3 · 5", os.fsdecode(b"\xff"), flush=True)
    assert raw.getvalue() == b"3 \\xb7 5 \\udcff\n"
