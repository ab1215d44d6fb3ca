"""Commands on what others are to have, or have given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simcvd.cli.application import app


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    out: Annotated[Path, typer.Option(help="The zip to write, such as MODEL.zip.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="The network as ONNX too, beside it, checked.")
    ] = False,
) -> None:
    """A model as one file: weights, settings, label names and a card with its scores."""
    from simcvd.share import export_run

    made = export_run(run, out, onnx=onnx)
    print(f"{made.path}: {made.bytes / 1e6:.1f} MB, sha256 {made.sha256}")
    if made.onnx:
        print(f"{made.onnx}: differs from torch by at most {made.onnx_difference:.2g}")
    print(f"next: simcvd predict {made.path} SCANS --out DIR")
