"""Rows of a run on disk."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from tests.small import LABELED, NETWORK, TRAIN

from simcvd.data.cache import Cache
from simcvd.training import loop
from simcvd.training.log import RunLog, read_log
from simcvd.types import SimcvdError


def _table(folder: Path) -> list[list[str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_rows_are_the_same_in_both_files(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.write({"step": 10, "loss": 0.5})
    log.write({"step": 20, "loss": 0.25})
    log.close()
    assert read_log(tmp_path) == [{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.25}]
    assert _table(tmp_path) == [["step", "loss"], ["10", "0.5"], ["20", "0.25"]]


def test_a_new_phase_brings_new_columns(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.write({"step": 10, "term/global": 3.0})
    log.write({"step": 20, "term/seg": 1.0})
    log.close()
    assert _table(tmp_path) == [
        ["step", "term/global", "term/seg"],
        ["10", "3.0", ""],
        ["20", "", "1.0"],
    ]


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in (10, 20, 30):
        log.write({"step": step, "loss": 1.0 / step})
    log.close()
    (tmp_path / "log.jsonl").open("a").write('{"step": 40, "lo')  # cut short by a crash
    log = RunLog(tmp_path, step=25)
    log.write({"step": 30, "loss": 7.0})
    log.close()
    assert [row["step"] for row in read_log(tmp_path)] == [10, 20, 30]
    assert _table(tmp_path)[-1] == ["30", "7.0"]


def test_a_damaged_row_is_named_and_a_torn_one_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 10, "loss": 0.5}\n{"step": 20, "lo')
    assert read_log(tmp_path) == [{"step": 10, "loss": 0.5}]
    for line in (b'{"step": 1\x000}\n', b'{"loss": 1}\n', b'{"step": [1]}\n'):
        path.write_bytes(line)
        with pytest.raises(SimcvdError, match=r"log\.jsonl: is damaged"):
            read_log(tmp_path)


class Board:
    """A writer as TensorBoard's, which remembers."""

    written: list[tuple[str, str, int]]

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder = folder

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.written.append((Path(self.folder).name, name, step))

    def close(self) -> None:
        self.written.append(("closed", "", 0))


@pytest.mark.parametrize("asked", [True, False])
def test_tensorboard_has_the_rows_on_request_alone(
    small_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setattr(loop, "tensorboard", lambda: Board)
    monkeypatch.setattr(Board, "written", [], raising=False)
    run = tmp_path / "run"
    loop.train(small_cache.root, run, method="supervised", labeled=LABELED, train=TRAIN,
               network=NETWORK, board=asked)  # fmt: skip
    assert (("tensorboard", "loss", TRAIN.iterations) in Board.written) == asked
    assert Board.written[-1:] == [("closed", "", 0)] * asked


def test_without_tensorboard_the_extra_is_named_and_nothing_written(
    small_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(SimcvdError, match=r"--tensorboard needs .*: pip install 'simcvd\[tensorb"):
        loop.train(small_cache.root, tmp_path / "run", labeled=LABELED, train=TRAIN,
                   network=NETWORK, board=True)  # fmt: skip
    assert not (tmp_path / "run").exists()
