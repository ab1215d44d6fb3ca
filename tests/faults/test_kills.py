"""A fast part of the campaign: some of each verb's file operations, killed or on a full disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.faults.kills import trials
from tests.faults.scenarios import Base, scenarios


@pytest.mark.parametrize(
    ("verb", "every"),
    [
        ("prepare", 23),
        ("exchange", 29),
        ("train", 9),
        ("evaluate", 7),
        ("predict", 13),
        ("export", 2),
        ("mend", 5),
        ("review", 3),
        ("warm", 29),
    ],
)
def test_killed_at_an_operation_it_ends_the_same(
    base: Base, tmp_path: Path, verb: str, every: int
) -> None:
    done = list(trials(scenarios(base)[verb], tmp_path, every=every))
    assert [trial.problem for trial in done if trial.problem] == []
    assert len(done) > 1
    assert all(trial.struck for trial in done)


@pytest.mark.parametrize(
    ("verb", "every"), [("prepare", 31), ("train", 11), ("evaluate", 9), ("predict", 17)]
)
def test_a_full_disk_is_said_and_what_was_there_is_kept(
    base: Base, tmp_path: Path, verb: str, every: int
) -> None:
    done = list(trials(scenarios(base)[verb], tmp_path, every=every, kind=str(errno.ENOSPC)))
    assert [trial.problem for trial in done if trial.problem] == []
    assert all(trial.struck for trial in done)
