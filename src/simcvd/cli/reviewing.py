"""The command that opens a round in a browser."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from simcvd.cli.application import app
from simcvd.cli.learning import run


@app.command()
def review(
    work: Annotated[Path, typer.Argument(help="The --out folder of `simcvd run`.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than this one lets others in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="By default 8417, or a free one.")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address and open nothing.")
    ] = False,
) -> None:
    """Look at every scan in a browser, correct and accept segmentations, learn again."""
    from simcvd.review.command import review as serve

    options = inspect.signature(run).parameters.keys() - {"out", "dry_run"}
    serve(work, host=host, port=port, browser=not no_browser, options=options)
