"""Commands that train, predict and score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from simcvd.cli.application import (
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


@command()
def run(
    out: Annotated[Path, typer.Option(help="Folder for everything; the same command resumes.")],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of scans, or a data set with its labels; needed once."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps; a scan without one is unlabelled.")
    ] = None,
    preset: Annotated[
        Literal["quick", "standard", "full"] | None,
        typer.Option(help="How much is trained (default quick)."),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.01, help="Fewer steps, so that all is done by then.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Which method learns from the unlabelled scans (default cutmix)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print plan, time and memory; write nothing.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="A new round starts from fresh weights.")
    ] = False,
    resample_labels: ResampleLabels = False,
    names: Names = None,
    patient_pattern: PatientPattern = None,
    workers: Workers = None,
) -> None:
    """Everything: check, plan, train with and without the unlabelled scans, segment all scans.

    Typed again it goes on where it stopped, or, where scans or labels have changed, begins a new
    round from the weights of the last.
    """
    from simcvd import pipeline

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
    cache: Annotated[Path, typer.Argument(metavar="CACHE", help="What `simcvd prepare` wrote.")],
    labeled: Annotated[int, typer.Option(help="Number of labelled training scans, the first N.")],
    out: Annotated[Path, typer.Option(help="The run's folder; the same command resumes.")],
    method: Annotated[
        str, typer.Option(help="A method's name, or package.module:Class.")
    ] = "simcvd",
    recipe: Annotated[
        str | None,
        typer.Option(help="strong, or paper for the paper's; by default the plan's, or strong."),
    ] = None,
    init: Annotated[
        list[Path] | None,
        typer.Option(metavar="MODEL", help="A run or exported model to start from; repeatable."),
    ] = None,
    iterations: Annotated[int | None, typer.Option(help="By default the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed (default 0).")] = None,
    settings: Settings = None,
    plan: PlanFile = None,
) -> None:
    """Train a method; re-run the same command to resume."""
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
    run(cache, out, method=method, labeled=labeled, settings=chosen, recipe=begun, init=init or ())
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
        typer.Option("--with", metavar="MODEL", help="Average with this one; may be repeated."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="nifti, nrrd, mha or dicom-seg; by default each scan's own."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Every class's probability, as NIfTI.")
    ] = False,
    entropy: Annotated[
        bool, typer.Option("--entropy", help="How undecided the model is, voxel by voxel.")
    ] = False,
    flip: Annotated[
        str, typer.Option(metavar="AXES", help="Average over flips, e.g. x or xyz: 2 or 8 passes.")
    ] = "",
    stride: Stride = None,
    fast: Fast = False,
    network: OwnNetwork = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:1 and its like.")] = "auto",
    workers: Workers = None,
) -> None:
    """Segment scans; every result lies in its scan's own grid and has its format."""
    from simcvd.data.parallel import on_workers
    from simcvd.inference.predict import predict_files
    from simcvd.inference.scan import Wanted

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
        )
    print(f"{len(written)} segmentations in {out}, confidence and volumes in predictions.csv")


@command()
def evaluate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished run, or a folder of predictions.")
    ],
    reference: Annotated[
        Path | None,
        typer.Argument(metavar="REFERENCE", help="Folder of reference label maps, for a folder."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where tables go; by default RUN.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="The prepared scans, if they were moved.")
    ] = None,
    split: Annotated[
        Literal["test", "holdout"], typer.Option(help="test, or holdout to choose settings.")
    ] = "test",
    stride: Stride = None,
    fast: Fast = False,
    workers: Workers = None,
) -> None:
    """Score a run on its test split, or one folder of label maps against another."""
    from simcvd.data.parallel import on_workers
    from simcvd.escape import one_line
    from simcvd.scoring.evaluate import evaluate_folders
    from simcvd.scoring.record import read_report, write_report
    from simcvd.scoring.words import in_short
    from simcvd.training.score_run import score_run

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
        Path | None, typer.Argument(metavar="CACHE", help="What `simcvd prepare` wrote.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="One of those that --list names.")] = "la-half",
    out: Annotated[Path | None, typer.Option(help="Folder of all runs and tables.")] = None,
    row: Annotated[
        list[str] | None, typer.Option(help="Table I to V, methods, or a row; may be repeated.")
    ] = None,
    labeled: Annotated[
        list[int] | None, typer.Option(help="Labelled scans; may be repeated.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated.")] = None,
    change: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Another protocol, so named.")
    ] = None,
    workers: Workers = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Which part of a scan's name is the patient."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing.")] = False,
    only_tables: Annotated[
        bool, typer.Option("--only-tables", help="Write the tables of what is done.")
    ] = False,
    figure: Annotated[
        bool, typer.Option("--figure", help="Draw the same scans by every row, too.")
    ] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="Name all protocols, methods and rows.")
    ] = False,
) -> None:
    """Compare methods under one protocol; typed again, it goes on with what is missing."""
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
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")],
    quick: Annotated[bool, typer.Option(help="The smallest demo, under a minute.")] = False,
) -> None:
    """Phantom scans, a supervised control and SimCVD, scores and one page that shows them."""
    from simcvd.demo.command import run_demo

    run_demo(out, quick=quick)
