"""What a run writes down: JSONL and CSV always, TensorBoard on request."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simcvd.files import append_text, parse_object, write_text
from simcvd.plugins import optional
from simcvd.types import SimcvdError

Row = dict[str, float]


class RunLog:
    """Rows of scalars by step, in ``log.jsonl`` and ``log.csv``.

    On resume the rows after ``step`` are dropped, so that the log is that of one run. board: what
    `tensorboard` gave, to have them in ``tensorboard/`` as well.
    """

    def __init__(self, folder: Path, step: int = 0, board: Any = None) -> None:
        self._jsonl, self._csv = folder / "log.jsonl", folder / "log.csv"
        rows = [row for row in read_log(folder) if row["step"] <= step]
        write_text(self._jsonl, "".join(json.dumps(row) + "\n" for row in rows))
        self._columns: list[str] = []
        self._begin_csv(rows)
        self._board = board and board(str(folder / "tensorboard"), purge_step=step)

    def write(self, row: Row) -> None:
        """Append one row. A column that is new, as a method's next phase brings, is blank above."""
        append_text(self._jsonl, json.dumps(row) + "\n")
        if set(row) <= set(self._columns):
            append_text(self._csv, _csv([row], self._columns))
        else:
            self._begin_csv(read_log(self._jsonl.parent))
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Flush what TensorBoard holds back."""
        if self._board is not None:
            self._board.close()

    def _begin_csv(self, rows: list[Row]) -> None:
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        names = dict(zip(self._columns, self._columns, strict=True))
        write_text(self._csv, _csv([names, *rows], self._columns))


def _csv(rows: Sequence[Mapping[str, Any]], columns: list[str]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="").writerows(rows)
    return text.getvalue()


def read_log(folder: Path) -> list[Row]:
    """The rows of a run so far; a last line cut short by a crash is left out.

    Raises SimcvdError for a line that is no row.
    """
    path = folder / "log.jsonl"
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    try:
        rows = [parse_object(line) for line in lines if line.endswith(b"}")]
        return [{**row, "step": int(row["step"])} for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise SimcvdError(f"{path}: is damaged ({error}); restore it, or remove it") from error


def tensorboard() -> Any:
    """The writer of TensorBoard's files. Raises SimcvdError where it is not installed."""
    return optional("torch.utils.tensorboard", "tensorboard", "--tensorboard").SummaryWriter
