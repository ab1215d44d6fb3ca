"""A fast part of the campaign: some of each verb's file operations, killed or on a full disk."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.faults.kills import trials
from tests.faults.scenarios import Base, make_base, scenarios

from simcvd.training import loop


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """Forks share no thread: torch's own would be missing in them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds, loop.CHECKPOINT_SECONDS = loop.CHECKPOINT_SECONDS, 0.0
    yield make_base(tmp_path_factory.mktemp("base"))
    loop.CHECKPOINT_SECONDS = seconds
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("verb", "every"),
    [
        ("prepare", 23),
        ("exchange", 29),
        ("train", 9),
        ("evaluate", 7),
        ("predict", 13),
        ("export", 2),
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
