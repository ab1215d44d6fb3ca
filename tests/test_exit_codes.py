"""What a script that calls `simcvd` can tell from its exit code, and a terminal from its words."""

from __future__ import annotations

import errno
import json
import signal
import sys
from pathlib import Path

import nibabel
import pytest
from tests.inference.tools import OBLIQUE, blob, small_vnet, spec

from simcvd.cli import main
from simcvd.inference.model import DESCRIPTION, save_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", small_vnet(), spec())
    return tmp_path / "model"


def code_of(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["simcvd", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_done_refused_typed_wrongly_and_done_in_part(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, out = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "out"
    nibabel.save(nibabel.Nifti1Image(blob()[0], OBLIQUE), good)
    bad.write_bytes(good.read_bytes()[:200])
    assert code_of(monkeypatch, "predict", model, good, "--out", out) == 0
    assert code_of(monkeypatch, "predict", model, bad, "--out", out) == 1
    assert code_of(monkeypatch, "predict", model, good, "--into", out) == 2
    assert code_of(monkeypatch, "predict", model, bad, good, "--out", tmp_path / "new") == 3
    said = capsys.readouterr().err
    assert "1 of 2 scans could not be segmented; the others are in" in said
    assert (tmp_path / "new" / "a.nii.gz").exists()


def test_an_empty_argument_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable that is not set would have `--out` be the folder that one stands in."""
    monkeypatch.chdir(tmp_path)
    for words in (("prepare", "a", "--out", ""), ("prepare", "", "--out", "c"), ("info", "--out=")):
        assert code_of(monkeypatch, *words) == 2
        assert "an empty argument" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EACCES, "Permission denied", "/a/\x1bb"), r"/a/\x1bb: Permission denied"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("the disk is gone"), "the disk is gone"),
    ],
)
def test_what_the_system_refuses_is_said_in_a_line(
    error: OSError,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setattr("simcvd.info.describe", fails)
    assert code_of(monkeypatch, "info", tmp_path) == 1
    assert capsys.readouterr().err == f"simcvd: {said}\n"


def test_an_interrupt_that_a_library_swallows_is_one_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def swallows(_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RecursionError("maximum recursion depth exceeded") from None

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("simcvd.info.describe", swallows)
    assert code_of(monkeypatch, "info", tmp_path) == 130
    assert capsys.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stranger_s_model_prints_no_line_of_its_own(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((model / DESCRIPTION).read_text())
    del content["digest"]
    content["method"] = "simcvd\nnext: rm -r .\x1b[2J"
    content["trained_on"] = {"\x1b]0;title\x07": ["\nstate: safe"]}
    (model / DESCRIPTION).write_text(json.dumps(content))
    assert code_of(monkeypatch, "info", model) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert [line for line in said.splitlines() if line.startswith(("next:", "state:"))] == [
        "state: finished; the weights are those that it describes",
        f"next: simcvd predict {model} SCANS --out DIR",
    ]


def test_escape_sequences_in_a_path_stay_out_of_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(monkeypatch, "info", tmp_path / "a\x1b[31m") == 1
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert r"a\x1b[31m: nothing is there" in said
