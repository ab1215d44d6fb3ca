"""A call leaves torch as it found it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from tests.small import LABELED, NETWORK, TRAIN

from simcvd import machine
from simcvd.data.cache import Cache
from simcvd.torch_state import left_as_found
from simcvd.training.loop import train
from simcvd.training.score_run import score_run


def _switches() -> tuple[object, ...]:
    cudnn, product = torch.backends.cudnn, torch.backends.cuda.matmul
    return cudnn.benchmark, cudnn.conv.fp32_precision, product.fp32_precision


def test_inside_float32_is_float32_and_afterwards_all_is_as_before() -> None:
    before = _switches()

    @left_as_found()
    def inside() -> None:
        assert _switches() == (True, "ieee", "ieee")
        raise RuntimeError("on the way")

    for _ in range(2):  # the decorator is of use more than once
        with pytest.raises(RuntimeError, match="on the way"):
            inside()
        assert _switches() == before


def test_training_and_scoring_in_a_thread_leave_the_process_alone(
    small_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose signals are its main thread's, whose random numbers and memory are its own."""
    monkeypatch.setattr(machine, "_commands", False)  # whatever commands ran in this process
    monkeypatch.setattr(machine, "keep_freed_memory", lambda keep=True: pytest.fail("tuned"))
    torch.manual_seed(7)
    random, switches, failed = torch.get_rng_state(), _switches(), list[BaseException]()

    def work() -> None:
        try:
            run = tmp_path / "run"
            train(small_cache.root, run, labeled=LABELED, train=TRAIN, network=NETWORK)
            score_run(run, quiet=True)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed
    assert torch.equal(torch.get_rng_state(), random)
    assert _switches() == switches


def test_memory_is_handled_in_a_command_s_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(machine, "keep_freed_memory", asked.append)
    monkeypatch.setattr(machine, "_commands", False)
    machine.reuse_memory()
    assert asked == []
    machine.is_command()
    machine.reuse_memory()
    machine.reuse_memory(False)
    assert asked == [True, False]
