"""`simcvd review WORK`: the server and the browser that shows it."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from simcvd.plugins import optional
from simcvd.review.guard import MAX_HEADERS, Guard, is_local
from simcvd.types import SimcvdError

if TYPE_CHECKING:
    import uvicorn

PORT = 8417


def review(
    work: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = True,
) -> None:
    """Serve the page for the round in ``work`` until Ctrl-C.

    host: what to listen on; anything but this machine's own address lets others in who know the
    token. port: None takes `PORT`, or a free one if that is taken. browser: open one. Raises
    SimcvdError if ``work`` is no folder of `simcvd run`, the port is taken, or the packages of
    simcvd[review] are missing.
    """
    for package in ("starlette", "uvicorn", "h11"):
        optional(package, "review", "`simcvd review`")
    import uvicorn

    from simcvd.review.server import application

    listening = listen(host, port)
    number, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    app = application(Path(work), token, host, number)
    address = f"http://{_shown(host)}:{number}/?token={token}"
    print(f"review of {work}: {address}\nCtrl-C ends it; what was saved stays.", flush=True)
    if not is_local(host):
        print("warning: others on the network can open this page with that address.", flush=True)
    if browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    uvicorn.Server(settings(app)).run(sockets=[listening])


def settings(app: Guard) -> uvicorn.Config:
    """How the server runs: one HTTP parser with bounded headers, no other protocol, no log."""
    import uvicorn

    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEADERS,
        timeout_graceful_shutdown=2,
    )


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens. Raises SimcvdError if the port that was asked for is taken."""
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in [PORT, 0] if port is None else [port]:
        listening = socket.socket(kind, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
        except OSError as error:
            listening.close()
            if number == 0 or port is not None:
                raise SimcvdError(
                    f"cannot listen on {host}, port {number} ({error.strerror or error}); choose "
                    "another --port or --host"
                ) from error
            continue
        listening.listen(128)
        return listening
    raise AssertionError("a free port was asked for last")


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
