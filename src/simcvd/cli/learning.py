"""Commands that train, predict and score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from simcvd.cli.application import (
    Device,
    Fast,
    Names,
    OwnNetwork,
    PatientPattern,
    PlanFile,
    ResampleLabels,
    Settings,
    Stride,
    Workers,
    command,
)
from simcvd.cli.arguments import check_folders


@command()
def run(
    out: Annotated[
        Path, typer.Option(help="Folder for all results; re-run the same command to resume.")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of scans, or a data set with labels; only needed the first time."
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps; a scan without one is unlabelled.")
    ] = None,
    preset: Annotated[
        Literal["quick", "standard", "full"] | None,
        typer.Option(help="How long to train (default quick)."),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.01, help="Time limit in hours: fewer training steps.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="The semi-supervised method (default cutmix)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print plan, time and memory; write nothing.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start a new round from fresh weights.")
    ] = False,
    resample_labels: ResampleLabels = False,
    names: Names = None,
    patient_pattern: PatientPattern = None,
    device: Device = "auto",
    workers: Workers = None,
) -> None:
    """The whole job: check, plan, train with and without the unlabelled scans, segment all scans.

    Resume by re-running the same command. After scans or labels have changed, the same command
    begins a new round from the weights of the last one.
    """
    check_folders(images, labels)
    from simcvd import pipeline
    from simcvd.machine import use_only
    from simcvd.types import SimcvdError
    from simcvd.workers.processes import is_cluster

    if device != "auto" and is_cluster(workers):
        raise SimcvdError("--device is of this machine; a cluster's workers have what it gave them")
    use_only(device)
    (pipeline.dry_run if dry_run else pipeline.run)(
        images,
        out,
        labels=labels,
        preset=preset,
        hours=hours,
        method=method,
        resample_labels=resample_labels,
        names=names,
        patient_pattern=patient_pattern,
        workers=workers,
        fresh=fresh,
    )


@command()
def train(
    cache: Annotated[
        Path, typer.Argument(metavar="CACHE", help="The folder that `simcvd prepare` wrote.")
    ],
    labeled: Annotated[
        int, typer.Option(help="Number of labelled training scans to use (the first N).")
    ],
    out: Annotated[Path, typer.Option(help="The run's folder; re-run the same command to resume.")],
    method: Annotated[
        str, typer.Option(help="A method's name, or package.module:Class.")
    ] = "simcvd",
    recipe: Annotated[
        str | None,
        typer.Option(help="strong or paper (default: the plan's, or strong)."),
    ] = None,
    init: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="MODEL", help="A run or exported model to start from; may be repeated."
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Training steps (default: the recipe's).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed (default 0).")] = None,
    settings: Settings = None,
    plan: PlanFile = None,
    device: Device = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log for it, too, in RUN/tensorboard.")
    ] = False,
) -> None:
    """Train a method; re-run the same command to resume."""
    from simcvd.machine import use_only

    use_only(device)
    from simcvd.methods.registry import named
    from simcvd.training.loop import train as run
    from simcvd.training.recipes import STRONG, find_recipe

    planned: tuple[str, ...] = ()
    if plan:
        from simcvd.planning import read_plan

        found = read_plan(plan)
        recipe, planned = recipe or found.recipe, found.settings(named(method))
    given = {"iterations": iterations, "seed": seed}
    flags = [f"train.{name}={value}" for name, value in given.items() if value is not None]
    chosen = [*planned, *flags, *(settings or [])]  # the last one wins
    begun = find_recipe(recipe or STRONG.name)
    run(
        cache,
        out,
        method=method,
        labeled=labeled,
        settings=chosen,
        recipe=begun,
        init=init or (),
        board=tensorboard,
    )
    print(f"trained: {out}\nnext: simcvd evaluate {out}")


@command()
def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="A training, an exported model, or WORK of `simcvd run`."
        ),
    ],
    scans: Annotated[
        list[Path], typer.Argument(metavar="SCANS", help="Files or folders of scans.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the segmentations.")],
    also: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="MODEL", help="Average with this model; may be repeated."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="nifti, nrrd, seg-nrrd, mha or dicom-seg (default: that of each scan)."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write class probabilities, as NIfTI.")
    ] = False,
    entropy: Annotated[
        bool, typer.Option("--entropy", help="Also write the entropy of every voxel, as NIfTI.")
    ] = False,
    flip: Annotated[
        str,
        typer.Option(
            metavar="AXES", help="Average over flips, e.g. x (2 passes) or xyz (8 passes)."
        ),
    ] = "",
    stride: Stride = None,
    fast: Fast = False,
    network: OwnNetwork = None,
    device: Device = "auto",
    runtime: Annotated[
        Literal["torch", "openvino"],
        typer.Option(help="What computes the network; OpenVINO can be faster for small windows."),
    ] = "torch",
    workers: Workers = None,
) -> None:
    """Segment scans; each result has its scan's own grid and format."""
    from simcvd.inference.predict import predict_files
    from simcvd.inference.scan import Wanted
    from simcvd.wording import counted
    from simcvd.workers.processes import on_workers

    models = [model, *(also or [])]
    with on_workers(workers, reads=[*models, *scans], writes=out) as processes:
        written = predict_files(
            models,
            scans,
            out,
            format=format,
            wanted=Wanted(probabilities=probabilities, entropy=entropy),
            flip=flip,
            stride=stride,
            fast=fast,
            network=network,
            device=device,
            processes=processes,
            runtime=runtime,
        )
    made = counted(len(written), "segmentation")
    print(f"{made} in {out}; confidence and volumes in {out / 'predictions.csv'}")


@command()
def evaluate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished run, or a folder of label maps.")
    ],
    reference: Annotated[
        Path | None,
        typer.Argument(
            metavar="REFERENCE",
            help="Folder of reference label maps, if RUN is a folder of label maps.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables (default: RUN).")] = None,
    cache: Annotated[Path | None, typer.Option(help="The prepared cache, if it was moved.")] = None,
    split: Annotated[
        Literal["test", "holdout"], typer.Option(help="test, or holdout for choosing settings.")
    ] = "test",
    stride: Stride = None,
    fast: Fast = False,
    workers: Workers = None,
) -> None:
    """Score a run on its test split, or one folder of label maps against another."""
    from simcvd.escape import one_line
    from simcvd.scoring.evaluate import evaluate_folders
    from simcvd.scoring.record import read_report, write_report
    from simcvd.scoring.words import in_short
    from simcvd.training.score_run import score_run
    from simcvd.workers.processes import on_workers

    folder = out or run
    with on_workers(workers, reads=[run, reference, cache], writes=folder) as jobs:
        if reference is None:
            folder = score_run(
                run,
                split=split,
                stride=stride,
                fast=fast,
                cache=cache,
                out=out,
                processes=jobs,
            )
        else:
            write_report(evaluate_folders(run, reference, jobs=jobs), folder)
    print((folder / "metrics.md").read_text(encoding="utf-8"))
    print(f"per case and per class: {folder / 'metrics.csv'}")
    print(one_line(in_short(read_report(folder))))


@command()
def benchmark(
    cache: Annotated[
        Path | None, typer.Argument(metavar="CACHE", help="The folder that `simcvd prepare` wrote.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="A protocol that --list names.")] = "la-half",
    out: Annotated[Path | None, typer.Option(help="Folder for all runs and tables.")] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(help="I to V (the paper's tables), methods, or a row; may be repeated."),
    ] = None,
    labeled: Annotated[
        list[int] | None, typer.Option(help="Number of labelled scans; may be repeated.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Random seed; may be repeated.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Override a protocol field; recorded as a separate protocol.",
        ),
    ] = None,
    workers: Workers = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Which part of a scan's name is the patient."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing.")] = False,
    only_tables: Annotated[
        bool, typer.Option("--only-tables", help="Only write the tables of what is done.")
    ] = False,
    figure: Annotated[
        bool, typer.Option("--figure", help="Also draw the same scans as every row segments them.")
    ] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="List all protocols, methods and rows.")
    ] = False,
) -> None:
    """Compare methods under one protocol; re-run the same command to resume."""
    from simcvd.benchmark import command

    if listing:
        print(command.listing())
        return
    command.benchmark(
        cache,
        out,
        protocol=protocol,
        changes=change or (),
        wanted=row or ("methods",),
        labeled=labeled,
        seeds=seed,
        workers=workers,
        patient=patient_pattern,
        mode="dry" if dry_run else "tables" if only_tables else "run",
        figure=figure,
    )


@command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")],
    quick: Annotated[bool, typer.Option(help="The smallest demo, about a minute.")] = False,
) -> None:
    """Made-up scans, a supervised control and CutMix, their scores, and a page that shows them."""
    from simcvd.demo.command import run_demo

    run_demo(out, quick=quick)
