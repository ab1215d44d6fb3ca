"""JSON of ours with one value exchanged for one of another kind, and sealed again where it was.

Whoever receives a cache, a run or a model from a stranger reads such records: every command must
do its work or refuse in a sentence.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.damage import HANG_SECONDS
from tests.faults.kills import typed
from tests.faults.scenarios import TRAINING, Base

from simcvd.files import SEAL, sealed

DEEP: list[Any] = []
for _ in range(100):
    DEEP = [DEEP]
NUMBERS = (-1, 0, 10**30, 0.5, math.nan)
TEXTS = ("", "../../x", "x" * 300, "\ud800")
VALUES = (None, True, *NUMBERS, *TEXTS, [], {}, [[1]], {"x": 1}, DEEP)


def exchanged(path: Path) -> Iterator[tuple[str, bytes]]:
    """What was exchanged, and the bytes of the file then: every value for every one of `VALUES`."""
    content = json.loads(path.read_bytes())
    for place in _places(content):
        for value in VALUES:
            yield f"{path.name} {place} = {ascii(value)[:20]}", _with(content, place, value)


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


@dataclass(frozen=True)
class Place:
    """A record that commands read. kept: the folder it lies in; commands: with WORK for a copy."""

    kept: Path
    file: str
    commands: tuple[tuple[str, ...], ...]

    def tried(self, number: int, data: bytes, scratch: Path) -> str:
        """What went wrong when one of the commands, each in its turn, met the record; or ""."""
        shutil.copytree(self.kept, scratch)
        (scratch / self.file).write_bytes(data)
        command = self.commands[number % len(self.commands)]
        words = [word.replace("WORK", str(scratch)) for word in command]
        code, said, _ = typed(words, {}, limit=HANG_SECONDS)
        shutil.rmtree(scratch)
        sound = code in (0, 1, 3) and "Traceback" not in said
        return "" if sound else f"{command[0]} ended with {code}: {said[-900:]}"


@dataclass(frozen=True)
class Exchange:
    """One trial: a value of a record exchanged."""

    place: Place
    number: int
    what: str
    data: bytes

    def tried(self, scratch: Path) -> str:
        """What went wrong, or ""."""
        name = f"{self.place.kept.name}_{Path(self.place.file).stem}_{self.number}"
        problem = self.place.tried(self.number, self.data, scratch / name)
        return problem and f"{self.place.kept.name}: {self.what}: {problem}"


def exchanges(base: Base, each: int) -> Iterator[Exchange]:
    """Trials of every record, the same for the same numbers."""
    for place in places(base):
        every = list(exchanged(place.kept / place.file))
        chosen = random.Random(place.file).sample(every, min(each, len(every)))
        for number, (what, data) in enumerate(chosen):
            yield Exchange(place, number, what, data)


def places(base: Base) -> list[Place]:
    """Every record that commands read, in a sound folder that holds it."""
    prepare = ("prepare", str(base.scans), "--out", "WORK", "--jobs", "1")
    train = ("train", "WORK", *TRAINING, "--out", "WORK/run")
    resume = ("train", str(base.cache), *TRAINING, "--out", "WORK")
    score = ("evaluate", "WORK", "--split", "holdout")
    report = ("report", "WORK", "--split", "holdout", "--out", "WORK/page")
    tables = ("benchmark", "--only-tables", "--out=WORK", "--protocol=hippocampus")
    export, info = ("export", "WORK", "--out", "WORK/model.zip"), ("info", "WORK")
    predict = ("predict", "WORK", str(base.scans / "images" / "case0.nii.gz"), "--out", "WORK/out")
    again = ("run", "--out", "WORK", "--dry-run", "--jobs", "1")
    return [
        Place(base.cache, "manifest.json", (prepare, train, info)),
        Place(base.cache, "cases/case0/case.json", (prepare, train)),
        Place(base.run, "config.json", (resume, score, info, export, report, tables)),
        Place(base.run, "model.json", (predict, info, export, score)),
        Place(base.run, "holdout/metrics.json", (report, export, info, tables)),
        Place(base.job, "run.json", (again, info)),
        Place(base.job, "cache/manifest.json", (again,)),
    ]
