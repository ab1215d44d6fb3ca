"""Names that others chose, made harmless for each place that they are shown in.

A scan's, class's or method's name may hold what a terminal, a spreadsheet, Markdown or matplotlib
takes for an instruction. Every place has one function here; HTML is jinja2's (autoescape).
"""

from __future__ import annotations

import csv
import io
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress

# Line breaks and escape sequences among them; marks that turn the direction of writing; bytes of
# file names that are no UTF-8, which Python keeps as lone surrogates.
_STRANGE = ("Cc", "Cs", "Zl", "Zp")
_TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "<": r"$<$",
        ">": r"$>$",
    }
)
_MARKDOWN = re.compile(r"([\\`*\[\]<>|])")


def one_line(text: object) -> str:
    r"""Text for a terminal or a log: what would move its cursor stands as ``\x1b`` and its like."""
    return "".join(_shown(c) if _is_strange(c) else c for c in str(text))


def lines(text: object) -> str:
    """As `one_line`, line breaks kept: for a message whose sentences are our own."""
    return "\n".join(one_line(line) for line in str(text).split("\n"))


def markdown(text: object) -> str:
    """Text for a cell or a heading of Markdown, shown as it is."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def latex(text: object) -> str:
    """Text for LaTeX, no command and no mathematics."""
    return one_line(text).translate(_LATEX)


def figure(text: object) -> str:
    """Text for matplotlib, which takes what stands between dollars for mathematics."""
    return one_line(text).replace("$", r"\$")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; a spreadsheet takes no cell for a formula, and numbers stay numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def prepare_streams() -> None:
    r"""Have standard output and error write what their encoding lacks as ``\xb7`` and its like.

    A container's or a batch system's terminal may be ASCII only, and a name no UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # one that was replaced by something simpler
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def cell(value: object) -> object:
    """What `csv_text` writes for a value."""
    if not isinstance(value, str):
        return value
    plain = one_line(value)
    return f"'{plain}" if plain.startswith(_FORMULA) and not _is_number(plain) else plain


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_strange(character: str) -> bool:
    return unicodedata.category(character) in _STRANGE or character in _TURNING


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # the byte itself
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
