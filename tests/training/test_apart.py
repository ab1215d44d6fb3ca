"""Which GPU a training in a process of its own gets."""

from __future__ import annotations

import io
import subprocess
from collections import Counter
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch

from simcvd.training import apart as module
from simcvd.training.apart import Call, Ended, execute, execute_all


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    return int(request.param)


@pytest.mark.parametrize(
    ("gpus", "jobs", "each"),
    [(8, 8, {str(i): 1 for i in range(8)}), (2, 4, {"0": 2, "1": 2}), (0, 2, {None: 2})],
    indirect=["gpus"],
)
def test_jobs_side_by_side_share_out_the_gpus(
    gpus: int, jobs: int, each: dict[str | None, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    together, seen = Barrier(jobs, timeout=60), list[str | None]()

    def record(call: Any, side_by_side: int, gpu: str | None = None) -> Ended:
        seen.append(gpu)
        together.wait()  # all of them run now
        return Ended(name="run", problem="")

    monkeypatch.setattr(module, "execute", record)
    calls: list[Any] = [None] * (2 * jobs)  # each GPU is free again for a second run
    assert len(list(execute_all(calls, jobs=jobs))) == 2 * jobs
    assert Counter(seen[:jobs]) == Counter(seen[jobs:]) == each


@pytest.mark.parametrize(("gpu", "visible"), [("3", "3"), (None, "0,1")])
def test_a_run_s_process_sees_its_gpu_alone(
    gpu: str | None, visible: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Process:
        def __init__(self, command: object, *, env: dict[str, str], **_: object) -> None:
            self.stdin = io.BytesIO()
            seen.append(env["CUDA_VISIBLE_DEVICES"])

        def __enter__(self) -> Process:
            return self

        def __exit__(self, *_: object) -> None: ...

        def wait(self) -> int:
            return 0

    seen: list[str] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(subprocess, "Popen", Process)
    call = Call(name="run", do=print, log=tmp_path / "run.log")
    assert not execute(call, 2, gpu).problem
    assert seen == [visible]
