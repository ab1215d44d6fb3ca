"""Where the pictures of a page are: within it, or, where they are too large for that, beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from simcvd.files import contents, remove, write_bytes

FOLDER = "report_files"
# Characters of all pictures together that stay within the page, which is to be mailed.
MOST = 7_000_000
KINDS = {b"RIFF": "webp", b"\x89PNG": "png"}


def references(pictures: Iterable[bytes], folder: Path) -> dict[bytes, str]:
    """What the page calls each picture. Those beside it are written here, before the page is.

    Their names are of their contents, so that a page that is there already keeps its own.
    """
    distinct = list(dict.fromkeys(pictures))
    within = {picture: data_uri(picture, f"image/{_kind(picture)}") for picture in distinct}
    if sum(map(len, within.values())) <= MOST:
        return within
    names = {p: f"{hashlib.sha256(p).hexdigest()[:16]}.{_kind(p)}" for p in distinct}
    for picture, name in names.items():
        if not (folder / name).exists():
            write_bytes(folder / name, picture)
    return {picture: f"{folder.name}/{name}" for picture, name in names.items()}


def tidy(folder: Path, used: Iterable[str]) -> None:
    """Remove pictures of an earlier page, once nothing refers to them."""
    kept = {folder.parent / reference for reference in used if not reference.startswith("data:")}
    for path in contents(folder):
        if path not in kept:
            remove(path)
    if folder.is_dir() and not kept:
        remove(folder)


def data_uri(data: bytes, kind: str) -> str:
    """The bytes as an address of their own."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _kind(picture: bytes) -> str:
    return next(kind for start, kind in KINDS.items() if picture.startswith(start))
