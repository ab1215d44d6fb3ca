"""`simcvd review` from the command line, and the page's vendored file."""

from __future__ import annotations

import hashlib
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
from tests.review.work import make_work

import simcvd.review
from simcvd.review.command import listen, review
from simcvd.types import SimcvdError

PAGE = Path(simcvd.review.__file__).parent / "page"


def test_the_address_it_prints_opens_the_page_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    work = make_work(tmp_path, ["a"])
    command = [sys.executable, "-m", "simcvd.cli", "review", str(work), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as started:
        assert started.stdout is not None
        line = started.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}$", line.strip())
        assert address, line
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        assert "<title>simcvd review</title>" in browser.open(address[0]).read().decode()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address[0].partition("?")[0])
        started.send_signal(signal.SIGINT)
        assert started.wait(timeout=20) in (0, -signal.SIGINT, 130)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimcvdError, match=r"holds no run\.json"):
        review(tmp_path, browser=False)


def test_a_port_that_is_taken_is_said_and_the_usual_one_given_way(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(SimcvdError, match=f"cannot listen on 127.0.0.1, port {taken}"):
            listen("127.0.0.1", taken)
    with listen("127.0.0.1", None) as first, listen("127.0.0.1", None) as second:
        assert first.getsockname()[1] != second.getsockname()[1]


def test_the_vendored_viewer_is_the_published_file_with_its_licence() -> None:
    digest = hashlib.sha256((PAGE / "niivue.js").read_bytes()).hexdigest()
    assert digest == "d6c2be4feb1ad53b2ac76b4196da8d8fd2263b662b511c55ca0fd127eb6a6532"
    assert "BSD 2-Clause License" in (PAGE / "niivue-LICENSE.txt").read_text(encoding="utf-8")
    large = [path.name for path in PAGE.iterdir() if path.stat().st_size > 100_000]
    assert large == ["niivue.js"]
