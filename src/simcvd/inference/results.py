"""A folder of segmentations: what each file in it was made of, so that the same call goes on.

::

    OUT/NAME.nii.gz           a segmentation
    OUT/.rows/NAME.nii.gz.json  a hash of what it was made of, its checksum, its row of the table
    OUT/predictions.csv       the rows, also those of earlier calls; joined at the end of a call

A file whose checksum is another was corrected by hand since, and is never written over. As each
has a record of its own, processes and machines that share the folder have nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from simcvd.inference.table import Row, cells, join_rows, read_table
from simcvd.locks import locked
from simcvd.naming import inside
from simcvd.types import SimcvdError

TABLE = "predictions.csv"
ROWS = ".rows"
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
        entry = _entry(self._record(job))
        if not entry:
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
        path = self._record(job)
        before = _entry(path)
        write_json(path, {"made": "", "checksum": None, "row": before.get("row", {})})
        try:
            yield
        except BaseException:
            if before:
                write_json(path, before)
            else:
                remove(path)
            raise

    def add(self, row: Row) -> None:
        """Note that a segmentation is whole, and what was found in it."""
        made, whole = self._made(row.job), checksum(row.job.target)
        entry = {"made": made, "checksum": whole, "row": cells(self.spec, row)}
        write_json(self._record(row.job), entry)

    def join(self) -> None:
        """Bring the table up to date with the records, those of other processes included."""
        found = [_entry(path).get("row") for path in contents(self.out / ROWS)]
        if not (rows := [row for row in found if row]):
            return
        busy = f"{self.out}: another process has been writing its table for {LOCK_SECONDS:.0f} s."
        with locked(self.out / f".{TABLE}{LOCK}", busy, wait=LOCK_SECONDS):
            join_rows(self.out / TABLE, rows)

    def check(self) -> None:
        """Refuse a folder whose table is none of ours, before any work is done."""
        read_table(self.out / TABLE)

    def _made(self, job: Job) -> str:
        files = [file for image in job.images for file in files_of(image)]
        return json_hash([__version__, job.format.key, *self.recipe, stats_of(files)])

    def _record(self, job: Job) -> Path:
        return inside(self.out / ROWS, job.target.name, ".json")


def _entry(path: Path) -> dict[str, Any]:
    """What a record says; one that is broken is as good as none."""
    try:
        return read_object(path, "")
    except SimcvdError:
        return {}


def corrected(out: Path) -> list[Path]:
    """Segmentations in ``out`` that were changed by hand or put there; none if none is noted."""
    if not (out / ROWS).is_dir():
        return []
    named = [path for path in contents(out) if path.name != TABLE and path.name[0] != "."]
    noted = {path: _entry(out / ROWS / f"{path.name}.json") for path in named if path.is_file()}
    return [
        path
        for path, entry in noted.items()
        if entry.get("checksum", "") not in (None, checksum(path))
    ]
