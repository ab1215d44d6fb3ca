"""Trainings in processes of their own: which GPU each gets, and how they end."""

from __future__ import annotations

import io
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch

from simcvd.torch_state import threads
from simcvd.training import apart as module
from simcvd.training.apart import Call, Ended, execute, execute_all
from simcvd.training.stop import Interrupted


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

    def record(call: Any, side_by_side: int, gpu: str | None, started: object) -> Ended:
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


def _runs(script: str, tmp_path: Path, name: str = "run") -> Call:
    path = tmp_path / f"{name}.py"
    path.write_text(script, encoding="utf-8")
    return Call(name=name, do=partial(runpy.run_path, str(path)), log=tmp_path / f"{name}.log")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_is_interrupted_waits_until_all_have_stopped(
    number: signal.Signals, tmp_path: Path
) -> None:
    """As the first process of a container must, with which the others are killed."""
    script = (
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        "    time.sleep(0.5)\n"
        "    pathlib.Path(__file__).with_suffix('.saved').touch()\n"
        "    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path(__file__).with_suffix('.ready').touch()\n"
        "while True: time.sleep(0.01)\n"
    )
    calls = [_runs(script, tmp_path, name) for name in ("a", "b", "later")]

    def interrupt() -> None:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("*.ready"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(Interrupted, match="re-run the same command"):
            list(execute_all(calls, jobs=2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert {path.name for path in tmp_path.glob("*.saved")} == {"a.saved", "b.saved"}
    assert not (tmp_path / "later.ready").exists()


def test_a_log_is_utf_8_and_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PYTHONIOENCODING": "latin-1", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    call = _runs("import rich\nrich.print('[bold]扫描')", tmp_path)
    assert not execute(call, 1).problem
    assert call.log.read_text(encoding="utf-8") == "扫描\n"


def test_its_share_of_the_threads_is_what_torch_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "4")
    call = _runs("import torch\nprint(torch.get_num_threads())", tmp_path)
    with threads(4):
        assert not execute(call, 4).problem
    assert call.log.read_text(encoding="utf-8") == "1\n"


def test_what_failed_is_said_without_its_log_or_without_reading_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = _runs(f"import os, sys\nos.remove({str(tmp_path / 'run.log')!r})\nsys.exit(3)", tmp_path)
    assert execute(call, 1).problem == f"ended with code 3; {call.log} is gone"
    call = _runs("import os\nos.kill(os.getpid(), 9)", tmp_path)
    assert "signal 9, as the system does where memory runs out" in execute(call, 1).problem
    monkeypatch.setattr(sys, "executable", "/bin/false")
    large = Call(name="run", do=partial(print, "x" * 10**7), log=tmp_path / "large.log")
    assert "ended with code 1" in execute(large, 1).problem
