"""A folder of segmentations: what each file in it was made of, so that the same call goes on.

::

    OUT/NAME.nii.gz           a segmentation
    OUT/predictions.csv       a row a segmentation, also of earlier calls
    OUT/.predictions.json     of each file: a hash of what it was made of, and its own checksum

A file whose checksum is another was corrected by hand since, and is never written over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from simcvd import __version__
from simcvd.files import (
    LOCK,
    checksum,
    contents,
    json_hash,
    read_object,
    remove,
    stats_of,
    write_json,
)
from simcvd.formats import files_of
from simcvd.inference.inputs import Job
from simcvd.inference.model import ModelSpec
from simcvd.inference.table import Row, add_row, read_table
from simcvd.locks import locked
from simcvd.types import SimcvdError

TABLE = "predictions.csv"
RECORD = ".predictions.json"
LOCK_SECONDS = 60.0
# missing: not there or left by a kill. done: of this very call. outdated: of another call.
# corrected: changed since it was written. unknown: written by somebody else.
Standing = Literal["missing", "done", "outdated", "corrected", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Results:
    """The segmentations in ``out`` that one call makes.

    recipe: whatever they depend on besides the scan, such as the models' hashes and the stride.
    maps: names of the folders in which each has a map, too.
    """

    out: Path
    spec: ModelSpec
    recipe: Sequence[object]
    maps: tuple[str, ...] = ()

    def standing(self, job: Job) -> Standing:
        """How far the segmentation of a scan is."""
        if not job.target.exists():
            return "missing"
        entry = self._record().get(job.target.name)
        if not isinstance(entry, dict):
            return "unknown"
        if entry.get("checksum") is None:
            return "missing"  # begun, and killed before it was noted that it is whole
        if entry["checksum"] != checksum(job.target):
            return "corrected"
        there = all((self.out / kind / f"{job.name}.nii.gz").exists() for kind in self.maps)
        try:
            made = self._made(job)
        except (OSError, SimcvdError):  # of a scan that cannot be read, as segmenting it will say
            return "outdated"
        return "done" if there and entry.get("made") == made else "outdated"

    @contextmanager
    def writing(self, job: Job) -> Iterator[None]:
        """Note that a file is about to be written: after a kill it is not taken for whole.

        A block that raises has written nothing, and what was noted before holds again.
        """
        before = self._record().get(job.target.name)
        self._note(job, {"made": "", "checksum": None})
        try:
            yield
        except BaseException:
            self._note(job, before)
            raise

    def add(self, row: Row) -> None:
        """Note that a segmentation is whole, and what was found in it."""
        with self._held():
            add_row(self.out / TABLE, self.spec, row)
        self._note(row.job, {"made": self._made(row.job), "checksum": checksum(row.job.target)})

    def check(self) -> None:
        """Refuse a folder whose table is none of ours, before any work is done."""
        read_table(self.out / TABLE)

    def _made(self, job: Job) -> str:
        files = [file for image in job.images for file in files_of(image)]
        return json_hash([__version__, job.format.key, *self.recipe, stats_of(files)])

    def _note(self, job: Job, entry: Any) -> None:
        with self._held():
            record = {**self._record(), job.target.name: entry}
            record = {name: one for name, one in record.items() if one is not None}
            if record:
                write_json(self.out / RECORD, record)
            else:
                remove(self.out / RECORD)

    def _record(self) -> dict[str, Any]:
        """What was noted so far; a record that is broken is as good as none."""
        try:
            return read_object(self.out / RECORD, "")
        except SimcvdError:
            return {}

    def _held(self) -> AbstractContextManager[None]:
        busy = f"{self.out}: another process has been writing its table for {LOCK_SECONDS:.0f} s."
        return locked(self.out / f"{RECORD}{LOCK}", busy, wait=LOCK_SECONDS)


def corrected(out: Path) -> list[Path]:
    """Segmentations in ``out`` that were changed by hand or put there; none if none is noted."""
    try:
        record = read_object(out / RECORD, "")
    except SimcvdError:
        return []
    named = [path for path in contents(out) if path.name != TABLE and path.name[0] != "."]
    noted = {path: record.get(path.name) for path in named if path.is_file()}
    return [
        path
        for path, entry in noted.items()
        if entry is None or entry.get("checksum") not in (None, checksum(path))
    ]
