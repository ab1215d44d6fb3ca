"""Which cases a batch draws, and where the scans lie meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from simcvd.data import sampler
from simcvd.data.cache import Cache
from simcvd.data.sampler import Ahead, Cut, Patches, TwoStreams, Views, home_of

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


def test_batches_cut_a_step_ahead_are_the_same(small_cache: Cache) -> None:
    streams = TwoStreams(
        labeled=small_cache.train[:3], unlabeled=small_cache.train[3:], batch=(2, 2), seed=1
    )
    views = Views(patch=(16, 16, 8), poses="fixed", distance=True)
    plain, ahead = (Patches(small_cache, streams, views, torch.device("cpu")) for _ in range(2))
    calls: list[int] = []

    def make(step: int) -> Cut:
        calls.append(step)
        return cut_all(step)

    cut_all = ahead._cut_all
    ahead._cut_batch = Ahead(make)
    for step in (0, 1, 2, 7, 8):  # a run that was resumed jumps
        one, other = plain.batch(step), ahead.batch(step)
        assert one.cases == other.cases
        for field in ("image", "label", "distance"):
            assert torch.equal(getattr(one, field), getattr(other, field))
    assert calls[:6] == [0, 1, 2, 3, 7, 8]  # each once; what is not asked for is dropped


def test_what_goes_wrong_a_step_ahead_is_raised_at_its_step() -> None:
    def make(step: int) -> Cut:
        if step == 1:
            raise OSError("the disk is gone")
        return cut

    empty = torch.zeros(0)
    cut = Cut(cases=(), image=empty, label=empty, distance=empty, target=None)
    ahead = Ahead(make)
    assert ahead(0) is cut
    with pytest.raises(OSError, match="the disk is gone"):
        ahead(1)
