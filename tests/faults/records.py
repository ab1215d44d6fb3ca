"""JSON of ours with one value exchanged for one of another kind, and sealed again where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simcvd.files import SEAL, sealed

DEEP: list[Any] = []
for _ in range(100):
    DEEP = [DEEP]
VALUES = (None, True, -1, 0, 10**30, 0.5, "", "../../x", "x" * 300, [], {}, [[1]], {"x": 1}, DEEP)


def exchanged(path: Path) -> Iterator[tuple[str, bytes]]:
    """What was exchanged, and the bytes of the file then: every value for every one of `VALUES`."""
    content = json.loads(path.read_bytes())
    for place in _places(content):
        for value in VALUES:
            yield f"{path.name} {place} = {str(value)[:20]}", _with(content, place, value)


def _places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place != (SEAL,):
        yield place
    if isinstance(content, dict | list):
        inner = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in inner:
            yield from _places(value, (*place, key))


def _with(content: Any, place: tuple[Any, ...], value: Any) -> bytes:
    changed = json.loads(json.dumps(content))
    if not place:
        return json.dumps(value).encode()
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return json.dumps(sealed(changed) if SEAL in changed else changed).encode()
