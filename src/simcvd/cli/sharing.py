"""Commands on what is made: given to others, or looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from simcvd.cli.application import (
    LabelFolder,
    Names,
    OwnNetwork,
    PatientPattern,
    ResampleLabels,
    SourceFolder,
    Workers,
    command,
)


@command()
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished training, or WORK of `simcvd run`.")
    ],
    out: Annotated[Path, typer.Option(help="The zip to write, such as MODEL.zip.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write the network as ONNX, checked against torch.")
    ] = False,
    network: OwnNetwork = None,
) -> None:
    """Write a model as one file: weights, settings, label names and a card with its scores."""
    from simcvd.share import export_run

    made = export_run(run, out, onnx=onnx, network=network)
    print(f"{made.path}: {made.bytes / 1e6:.1f} MB, sha256 {made.sha256}")
    if made.onnx:
        print(f"{made.onnx}: differs from torch by at most {made.onnx_difference:.2g}")
    print(f"next: simcvd predict {made.path} SCANS --out DIR")


@command()
def convert(
    source: SourceFolder,
    out: Annotated[Path, typer.Option(help="Folder to write, such as Dataset001_heart.")],
    to: Annotated[Literal["nnunet"], typer.Option(help="The layout to write.")] = "nnunet",
    labels: LabelFolder = None,
    resample_labels: ResampleLabels = False,
    names: Names = None,
    patient_pattern: PatientPattern = None,
    workers: Workers = None,
) -> None:
    """Write scans and labels as a data set for another program: nnU-Net, version 2."""
    from simcvd.share.nnunet import to_nnunet
    from simcvd.workers.processes import on_workers

    with on_workers(workers, reads=[source, labels], writes=out) as jobs:
        made = to_nnunet(
            source,
            out,
            labels=labels,
            resample_labels=resample_labels,
            names=names,
            patient=patient_pattern,
            jobs=jobs,
            quiet=False,
        )
    print(
        f"{made.folder}: {made.train} labelled training scans; {made.test} of the test list and "
        f"{made.unlabeled} unlabelled ones in imagesTs"
    )
    if patient_pattern:
        print("note: nnU-Net divides scans and not patients; give it splits of your own")


@command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUNS", help="Scored runs, the control first.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for report.html.")],
    split: Annotated[
        Literal["test", "holdout"], typer.Option(help="The scores to show: test, or holdout.")
    ] = "test",
    cache: Annotated[Path | None, typer.Option(help="The prepared cache, if it was moved.")] = None,
) -> None:
    """Write one HTML page: table, each scan, outlines over the scans, training curves."""
    from simcvd.report.runs import report_runs

    print(report_runs(runs, out, split=split, cache=cache))


@command()
def info(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A run, cache, plan, model or benchmark.")
    ],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what a file or folder is, how far it has got, and the next command."""
    from simcvd.info import describe

    found = describe(file)
    print(found.to_json() if json else found.to_text())
