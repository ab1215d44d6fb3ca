"""Commands that look at scans and prepare them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from simcvd.cli.application import (
    LabelFolder,
    Names,
    PatientPattern,
    PlanFile,
    ResampleLabels,
    SourceFolder,
    Workers,
    command,
)
from simcvd.cli.arguments import check_folders, margin_of, numbers


@command()
def check(
    source: SourceFolder,
    labels: LabelFolder = None,
    resample_labels: ResampleLabels = False,
    json: Annotated[
        Path | None, typer.Option(help="Also write the report to this JSON file.")
    ] = None,
    fix: Annotated[Path | None, typer.Option(help="New folder for corrected copies.")] = None,
    splits: Annotated[
        bool, typer.Option("--splits", help="Also check for train/test leakage.")
    ] = False,
    names: Names = None,
    patient_pattern: PatientPattern = None,
    workers: Workers = None,
) -> None:
    """Read every scan and label once and report all problems; exit code 1 if there are errors."""
    check_folders(source, labels)
    from rich.console import Console

    from simcvd.checking.check import check_source
    from simcvd.checking.findings import show
    from simcvd.checking.mend import mend
    from simcvd.files import write_json
    from simcvd.workers.processes import on_workers

    with on_workers(workers, reads=[source, labels]) as jobs:
        report, found = check_source(
            source,
            labels,
            jobs,
            quiet=False,
            resample_labels=resample_labels,
            names=names,
            splits=splits,
            patient=patient_pattern,
        )
    show(report, Console(), files=True)
    if json:
        write_json(json, report.to_json())
    if fix:
        print(f"{len(mend(report, found, fix, labels))} corrected copies in {fix}")
    raise typer.Exit(code=1 if report.errors else 0)


@command()
def plan(
    source: SourceFolder,
    out: Annotated[Path, typer.Option(help="File for the plan, such as plan.toml.")],
    labels: LabelFolder = None,
    resample_labels: ResampleLabels = False,
    names: Names = None,
    patient_pattern: PatientPattern = None,
    network: Annotated[
        str, typer.Option(help="vnet, residual_unet, or a network of an installed package.")
    ] = "vnet",
    memory: Annotated[
        float | None,
        typer.Option(metavar="GB", help="Memory for training (default: 70 % of what is free)."),
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="A narrow network trained briefly: minutes on a CPU.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Choose spacing, normalisation, patch and network from all scans; write them to a file."""
    check_folders(source, labels)
    from simcvd.planning import make_plan, write_plan
    from simcvd.workers.processes import on_workers

    limit = int(memory * 2**30) if memory is not None else None
    with on_workers(workers, reads=[source, labels]) as jobs:
        made = make_plan(
            source,
            labels,
            resample_labels=resample_labels,
            names=names,
            patient=patient_pattern,
            network=network,
            memory=limit,
            jobs=jobs,
            quiet=False,
        )
    write_plan(made.quick() if quick else made, out)
    print(out.read_text(encoding="utf-8"))
    print(f"the plan: {out}")


@command()
def prepare(
    source: SourceFolder,
    out: Annotated[Path, typer.Option(help="Folder for the prepared cache.")],
    labels: LabelFolder = None,
    resample_labels: ResampleLabels = False,
    names: Names = None,
    patient_pattern: PatientPattern = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="MM [MM MM]", help="Voxel size: one number or three.")
    ] = None,
    normalization: Annotated[str | None, typer.Option(help="none, zscore or ct.")] = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(help="Window in Hounsfield units, for ct.")
    ] = None,
    crop: Annotated[
        Literal["none", "nonzero", "label"] | None,
        typer.Option(help="Crop to what is not background, or to the label's box (a leak)."),
    ] = None,
    margin: Annotated[
        tuple[str, str, str],
        typer.Option(metavar="X Y Z", help="Voxels kept around a crop; `all` keeps an axis whole."),
    ] = ("0", "0", "0"),
    workers: Workers = None,
    plan: PlanFile = None,
) -> None:
    """Read, check and resample the scans once, and compute the signed distance maps."""
    check_folders(source, labels)
    from simcvd.data.prepare import prepare as run
    from simcvd.workers.processes import on_workers

    chosen: dict[str, Any] = {}
    if plan:
        from simcvd.planning import read_plan

        chosen = read_plan(plan).prepare_arguments()
    given = {
        "spacing": numbers("--spacing", spacing) if spacing else None,
        "normalization": normalization,
        "window": window,
        "crop": crop,
    }
    chosen |= {name: value for name, value in given.items() if value is not None}
    with on_workers(workers, reads=[source, labels], writes=out) as jobs:
        cache = run(
            source,
            out,
            labels=labels,
            resample_labels=resample_labels,
            names=names,
            patient=patient_pattern,
            margin=margin_of(margin),
            jobs=jobs,
            **chosen,
        )
    have = sum(entry.has_label for entry in cache.manifest.cases.values())
    print(
        f"{out}: {len(cache.train)} training and {len(cache.test)} test scans, {have} with a label"
    )
