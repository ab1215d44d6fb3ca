"""The next round as a process of its own: started as recorded, watched, stopped, found again."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.review.work import make_work

from simcvd.pipeline.presets import QUICK
from simcvd.pipeline.request import Request
from simcvd.review import server
from simcvd.review.learning import Learning, run_command
from simcvd.review.round import Round
from simcvd.review.server import application
from simcvd.types import SimcvdError

# Prints, waits to be interrupted, and ends as `simcvd run` does then.
WAITS = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
print("training 1 of 5", flush=True)
time.sleep(60)
"""


def until(learning: Learning, *states: str, text: str = "") -> dict[str, Any]:
    for _ in range(400):
        state = learning.state()
        if state["state"] in states and text in state["text"]:
            return state
        time.sleep(0.05)
    raise AssertionError(f"still {state}")


def test_run_is_typed_again_as_it_was_recorded(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"])
    record = json.loads((work / "run.json").read_text())
    more = {"method": "cutmix", "resample_labels": True, "patient_pattern": "(.)"}
    (work / "run.json").write_text(json.dumps({**record, **more}))
    assert run_command(work) == [sys.executable, "-m", "simcvd.cli", "run", "--out", str(work)]
    asked = Request.of(work)  # as that command does
    assert (asked.images, asked.labels) == (tmp_path / "images", tmp_path / "labels")
    assert (asked.preset, asked.method, asked.patient) == (QUICK, "cutmix", "(.)")
    assert asked.resample_labels


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    path = make_work(tmp_path, ["a"]) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "images": 1}))
    with pytest.raises(SimcvdError, match=r"run\.json: is not a record .*\(images is 1: expected"):
        Round.read(path.parent)


def test_scans_are_named_as_run_was_told(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"])
    (tmp_path / "images" / "a.nii.gz").rename(tmp_path / "images" / "visit_a.nii.gz")
    record = json.loads((work / "run.json").read_text())
    (work / "run.json").write_text(json.dumps({**record, "names": "[a-z]$"}))
    assert list(Round.read(work).source.cases) == ["a"]


def test_a_round_is_watched_and_stopped(tmp_path: Path) -> None:
    learning = Learning(tmp_path)
    assert learning.state()["state"] == "none"
    learning.start([sys.executable, "-c", WAITS])
    until(learning, "running", text="training 1 of 5")
    with pytest.raises(SimcvdError, match="a round is already running"):
        learning.start([sys.executable, "-c", ""])
    found_again = Learning(tmp_path)  # by a server that was started anew
    assert found_again.state()["state"] == "running"
    found_again.stop()
    assert until(learning, "stopped")["text"] == "training 1 of 5\n"
    assert found_again.state()["state"] == "stopped"


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (1, "failed")])
def test_how_a_round_ended(tmp_path: Path, code: int, state: str) -> None:
    learning = Learning(tmp_path)
    learning.start([sys.executable, "-c", f"print('said'); raise SystemExit({code})"])
    assert until(learning, "finished", "failed") == {"state": state, "seconds": 0, "text": "said\n"}


def test_another_process_with_the_old_number_is_not_the_round(tmp_path: Path) -> None:
    learning = Learning(tmp_path)
    learning.start([sys.executable, "-c", ""])
    until(learning, "finished")
    note = json.loads(learning.note.read_text())
    learning.note.write_text(json.dumps({**note, "pid": 1}))
    later = Learning(tmp_path)
    assert later.state()["state"] == "stopped"
    later.stop()  # interrupts nobody


def test_learn_again_from_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = make_work(tmp_path, ["a"])
    monkeypatch.setattr(server, "run_command", lambda *_: [sys.executable, "-c", "print('said')"])
    home = "http://127.0.0.1:8417"
    client = TestClient(application(work, "token", "127.0.0.1", 8417), base_url=home)
    client.get("/?token=token")
    client.headers["origin"] = home
    assert client.post("/api/learn").status_code == 200
    for _ in range(200):
        state = client.get("/api/learning").json()
        if state["state"] != "running":
            break
        time.sleep(0.05)
    assert state["state"] == "finished"
    make_work(tmp_path / "more", ["z"])
    (tmp_path / "more" / "images" / "z.nii.gz").rename(tmp_path / "images" / "z.nii.gz")
    assert len(client.get("/api/scans").json()) == 1
    client.get("/api/learning?ended=1")
    assert len(client.get("/api/scans").json()) == 2
