"""Which cases a batch draws, and where the scans lie meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from simcvd.data import sampler
from simcvd.data.sampler import TwoStreams, home_of

STREAMS = TwoStreams(
    labeled=[f"labeled_{i}" for i in range(3)],
    unlabeled=[f"unlabeled_{i}" for i in range(5)],
    batch=(2, 2),
    seed=4,
)


def test_both_streams_visit_every_case_once_before_any_again() -> None:
    batches = [STREAMS.cases(step) for step in range(15)]  # 10 labelled epochs, 6 unlabelled
    labeled = [name for batch in batches for name in batch[:2]]
    unlabeled = [name for batch in batches for name in batch[2:]]
    for names, size in ((labeled, 3), (unlabeled, 5)):
        for start in range(0, 30, size):
            assert len(set(names[start : start + size])) == size
    assert Counter(labeled) == dict.fromkeys(STREAMS.labeled, 10)
    assert Counter(unlabeled) == dict.fromkeys(STREAMS.unlabeled, 6)
    assert labeled[:3] != labeled[3:6] or labeled[:3] != labeled[6:9], "each epoch is shuffled"
    assert replace(STREAMS, seed=5).cases(0) != STREAMS.cases(0)


def test_two_processes_see_together_what_one_sees() -> None:
    alone = [STREAMS.cases(step) for step in range(9)]
    halves = [replace(STREAMS, batch=(1, 1), rank=rank, world=2) for rank in (0, 1)]
    for step, whole in enumerate(alone):
        first, second = (half.cases(step) for half in halves)
        assert (first[0], second[0], first[1], second[1]) == whole


@pytest.mark.parametrize(("free", "home"), [(2000, "cuda"), (1999, "cpu")])
def test_scans_stay_on_a_gpu_where_half_of_its_free_memory_holds_them(
    free: int, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "free_memory", {"cuda": free}.__getitem__)
    arrays = [np.zeros(400, np.uint8), np.zeros(300, np.float16)]  # 1,000 bytes
    assert home_of(arrays, torch.device("cuda")).type == home
    assert home_of(arrays, torch.device("cpu")).type == "cpu"
