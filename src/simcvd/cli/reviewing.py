"""Commands between two rounds: what to label next, and the page to label it on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from simcvd.cli.application import command


@command("next")
def next_scans(
    work: Annotated[Path, typer.Argument(metavar="WORK", help="The --out folder of `simcvd run`.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many scans.")] = 5,
    by: Annotated[
        Literal["uncertainty", "disagreement", "distance", "mix"] | None,
        typer.Option(help="Strategy (default distance; does it pay? See docs/next.md)."),
    ] = None,
) -> None:
    """Say which unlabelled scans to label next, and why."""
    from rich.console import Console

    from simcvd.active.suggest import show, suggest

    console = Console(highlight=False)
    advice = suggest(work, n, by, console=console)
    show(advice, work, console)
    advice.refuse_failed()


@command()
def review(
    work: Annotated[Path, typer.Argument(metavar="WORK", help="The --out folder of `simcvd run`.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any other lets others in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port (default: 8417, or a free one).")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
) -> None:
    """Look at every scan in a browser, correct or accept segmentations, and learn again."""
    from simcvd.review.command import review as serve

    serve(work, host=host, port=port, browser=not no_browser)
