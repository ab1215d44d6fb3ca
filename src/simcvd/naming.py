"""What a case, a class or a file may be called, and where a file of that name may lie.

Names come from folders, DICOM tags and JSON files of other people, and become paths. One rule
holds wherever a name is made and wherever one is read back; one function makes a path of it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from simcvd.types import SimcvdError

# Bytes of UTF-8. File systems take 255; endings and the marks of temporary files come on top.
LONGEST = 180


def normal(text: str) -> str:
    """The text in Unicode's normal form C: macOS writes an accent as a letter of its own."""
    return unicodedata.normalize("NFC", text)


def fault(name: str) -> str | None:
    """What is wrong with a name, or None.

    It must not be empty, begin with a dot (``.`` and ``..`` among them, and hidden files), hold
    a separator (``/`` or a backslash) or a control character, be longer than `LONGEST` bytes,
    be no Unicode text, or be in another normal form than C.
    """
    if not isinstance(name, str):
        return f"is not text but {type(name).__name__}"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if not name.strip():
        return "is empty"
    if name.startswith("."):
        return "begins with a dot"
    if "/" in name or "\\" in name:
        return "holds a / or a \\"
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in name):
        return "holds a control character"
    if size > LONGEST:
        return f"has {size} bytes, and {LONGEST} are the most"
    return None if name == normal(name) else "is not in Unicode's normal form C"


def checked(name: str, what: str) -> str:
    """The name itself. Raises SimcvdError, with `what` it was to be called by, if it is none."""
    if found := fault(name):
        raise SimcvdError(f"{what}: the name {shown(name)} {found}. Give it another name.")
    return name


def check_all(names: Iterable[str], what: str) -> None:
    """`checked` for each of some names."""
    for name in names:
        checked(name, what)


def shown(name: object, limit: int = 60) -> str:
    """A name in quotes for a message, control characters and strange bytes spelt out."""
    text = ascii(name) if isinstance(name, str) and fault(name) else repr(name)
    return text if len(text) <= limit else f"{text[:limit]}...'"


def inside(folder: Path | str, name: str, ending: str = "") -> Path:
    """``folder/name`` and an ending, which does not count as part of the name.

    Raises SimcvdError for a name that is none, or a link that leads outside.
    """
    folder = Path(folder)
    path = folder / (checked(name, f"a file or folder in {folder}") + ending)
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise SimcvdError(
            f"{path}: is a link to {path.resolve()}, which lies outside {folder}. Nothing is "
            "written there: remove the link."
        )
    return path
