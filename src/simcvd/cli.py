"""The command line. Only typer is imported until a command runs, so that help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    name="simcvd",
    help="Semi-supervised segmentation of 3D medical scans.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="e.g. method.tau=0.3; may be repeated."),
]
Stride = Annotated[
    tuple[int, int, int] | None,
    typer.Option(help="Voxels between windows; by default half a patch. 18 18 4 for LA."),
]

PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="What `simcvd plan` wrote, edited or not.")
]


@app.command()
def run(
    images: Annotated[Path, typer.Option(help="Folder of scans, or a data set with its labels.")],
    out: Annotated[Path, typer.Option(help="Folder for everything; the same command resumes.")],
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps; a scan without one is unlabelled.")
    ] = None,
    preset: Annotated[
        Literal["quick", "standard", "full"], typer.Option(help="How much is trained.")
    ] = "standard",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print plan, time and memory; write nothing.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default every core.")] = None,
) -> None:
    """Everything: check, plan, train with and without the unlabelled scans, segment all scans."""
    from simcvd import run as whole

    (whole.dry_run if dry_run else whole.run)(images, labels, out, preset=preset, jobs=jobs)


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder of scans, in any layout of the docs.")],
    out: Annotated[Path, typer.Option(help="Folder of the prepared cache.")],
    labels: Annotated[Path | None, typer.Option(help="Folder of label maps.")] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="MM [MM MM]", help="Voxel size: one number or three.")
    ] = None,
    normalization: Annotated[str | None, typer.Option(help="none, zscore or ct.")] = None,
    window: Annotated[
        tuple[float, float] | None, typer.Option(help="Hounsfield units kept by ct.")
    ] = None,
    crop: Annotated[
        Literal["none", "nonzero", "label"] | None,
        typer.Option(help="Keep what is not background, or the ground truth's box (a leak)."),
    ] = None,
    margin: Annotated[
        tuple[str, str, str],
        typer.Option(metavar="X Y Z", help="Voxels left around it; all leaves an axis whole."),
    ] = ("0", "0", "0"),
    jobs: Annotated[int | None, typer.Option(help="Processes; by default every core.")] = None,
    plan: PlanFile = None,
) -> None:
    """Read, check and resample the scans once, and compute the signed distance maps."""
    from simcvd.data.prepare import prepare as run

    chosen: dict[str, Any] = {}
    if plan:
        from simcvd.plan import read_plan

        chosen = read_plan(plan).prepare_arguments()
    given = {
        "spacing": _numbers("--spacing", spacing) if spacing else None,
        "normalization": normalization,
        "window": window,
        "crop": crop,
    }
    chosen |= {name: value for name, value in given.items() if value is not None}
    cache = run(source, out, labels=labels, margin=_margin(margin), jobs=jobs, **chosen)
    have = sum(entry.has_label for entry in cache.manifest.cases.values())
    print(
        f"{out}: {len(cache.train)} training and {len(cache.test)} test scans, {have} with a label"
    )


@app.command()
def check(
    source: Annotated[Path, typer.Argument(help="Folder of scans, in any layout of the docs.")],
    labels: Annotated[Path | None, typer.Option(help="Folder of label maps.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for the report as JSON.")] = None,
    fix: Annotated[Path | None, typer.Option(help="New folder for mended copies.")] = None,
    splits: Annotated[
        bool, typer.Option("--splits", help="Look for what makes test scores too good, too.")
    ] = False,
    patient_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Which part of a scan's name is the patient."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default every core.")] = None,
) -> None:
    """Read every scan and label once and report all problems; exit code 1 if there are errors."""
    from rich.console import Console

    from simcvd.data.check import check_source
    from simcvd.data.findings import save, show
    from simcvd.data.mend import mend
    from simcvd.types import SimcvdError

    if patient_pattern and not splits:
        raise SimcvdError("--patient-pattern goes with --splits; give both")
    report, found = check_source(
        source, labels, jobs, quiet=False, splits=splits, patient=patient_pattern
    )
    show(report, Console())
    if json:
        save(report, json)
    if fix:
        print(f"{len(mend(report, found, fix, labels))} mended copies in {fix}")
    raise typer.Exit(code=1 if report.errors else 0)


@app.command()
def plan(
    source: Annotated[Path, typer.Argument(help="Folder of scans, in any layout of the docs.")],
    out: Annotated[Path, typer.Option(help="File of the plan, such as plan.toml.")],
    labels: Annotated[Path | None, typer.Option(help="Folder of label maps.")] = None,
    memory: Annotated[
        float | None, typer.Option(metavar="GB", help="For training; by default 70 % of the free.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="A narrow network, 300 iterations: minutes on a CPU.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default every core.")] = None,
) -> None:
    """Choose spacing, normalisation, patch and network from all scans; a file to look over."""
    from simcvd.plan import make_plan, write_plan

    limit = int(memory * 2**30) if memory is not None else None
    made = make_plan(source, labels, memory=limit, jobs=jobs, quiet=False)
    write_plan(made.quick() if quick else made, out)
    print(out.read_text(encoding="utf-8"))
    print(f"the plan: {out}")


@app.command()
def train(
    cache: Annotated[Path, typer.Argument(help="What `simcvd prepare` wrote.")],
    labeled: Annotated[int, typer.Option(help="Scans that count as labelled, from the top.")],
    out: Annotated[Path, typer.Option(help="The run's folder; the same command resumes.")],
    method: Annotated[str, typer.Option(help="One of src/simcvd/methods.")] = "simcvd",
    iterations: Annotated[int | None, typer.Option(help="By default the paper's 6000.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of every random stream; by default 0.")] = None,
    settings: Settings = None,
    plan: PlanFile = None,
) -> None:
    """Train a method; typing the same command again goes on where it stopped."""
    from simcvd.engine.loop import train as run

    planned: tuple[str, ...] = ()
    if plan:
        from simcvd.plan import read_plan

        planned = read_plan(plan).settings(method)
    named = {"iterations": iterations, "seed": seed}
    flags = [f"train.{name}={value}" for name, value in named.items() if value is not None]
    chosen = [*planned, *flags, *(settings or [])]  # the last one wins
    run(cache, out, method=method, labeled=labeled, settings=chosen)
    print(f"trained: {out}\nnext: simcvd evaluate {out}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A finished run.")],
    scans: Annotated[list[Path], typer.Argument(help="Files or folders of scans.")],
    out: Annotated[Path, typer.Option(help="Folder for the segmentations.")],
    also: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="MODEL", help="Average with this one; may be repeated."),
    ] = None,
    format: Annotated[
        Literal["nifti", "nrrd", "mha", "dicom-seg"] | None,
        typer.Option(help="By default each scan's own."),
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
) -> None:
    """Segment scans; every result lies in its scan's own grid and has its format."""
    from simcvd.inference.predict import Wanted, predict_files

    written = predict_files(
        [model, *(also or [])],
        scans,
        out,
        format=format,
        wanted=Wanted(probabilities=probabilities, entropy=entropy),
        flip=flip,
        stride=stride,
    )
    print(f"{len(written)} segmentations in {out}, confidence and volumes in predictions.csv")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A finished run, or a folder of predictions.")],
    reference: Annotated[
        Path | None, typer.Argument(help="Folder of reference label maps, for a folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where tables go; by default RUN.")] = None,
    split: Annotated[
        Literal["test", "holdout"], typer.Option(help="test, or holdout to choose settings.")
    ] = "test",
    stride: Stride = None,
) -> None:
    """Score a run on its test split, or one folder of label maps against another."""
    if reference is None:
        from simcvd.engine.score_run import score_run

        folder = score_run(run, split=split, stride=stride, out=out)
    else:
        from simcvd.engine.evaluate import evaluate_folders, write_report

        folder = out or run
        write_report(evaluate_folders(run, reference), folder)
    print((folder / "metrics.md").read_text(encoding="utf-8"))
    print(f"per case and per class: {folder / 'metrics.csv'}")


@app.command()
def benchmark(
    cache: Annotated[Path | None, typer.Argument(help="What `simcvd prepare` wrote.")] = None,
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
    jobs: Annotated[int, typer.Option(help="Runs side by side on this machine.")] = 1,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing.")] = False,
    only_tables: Annotated[
        bool, typer.Option("--only-tables", help="Write the tables of what is done.")
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
        jobs=jobs,
        dask=dask,
        mode="dry" if dry_run else "tables" if only_tables else "run",
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")],
    quick: Annotated[bool, typer.Option(help="The smallest demo, under a minute.")] = False,
) -> None:
    """Phantom scans, a supervised control and SimCVD, scores and one page that shows them."""
    from simcvd.demo import run_demo

    run_demo(out, quick=quick)


def main() -> None:
    """Entry point: a problem the user can mend is one message, not a traceback."""
    from simcvd.types import SimcvdError

    sys.argv[1:] = joined(sys.argv[1:])
    try:
        app()
    except SimcvdError as error:
        print(f"simcvd: {error}", file=sys.stderr)
        sys.exit(130 if type(error).__name__ == "Interrupted" else 1)


def joined(arguments: list[str]) -> list[str]:
    """``--spacing 1 1 2`` as ``--spacing 1,1,2``: typer's options take a fixed count only."""
    joined: list[str] = []
    for argument in arguments:
        after = len(joined) > 1 and joined[-2] == "--spacing"
        if after and argument.replace(".", "", 1).isdigit():
            joined[-1] += "," + argument
        else:
            joined.append(argument)
    return joined


def _numbers(option: str, text: str) -> tuple[float, ...]:
    from simcvd.types import SimcvdError

    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise SimcvdError(f"{option} {text}: write one number, or three") from error


def _margin(texts: tuple[str, str, str]) -> tuple[int | None, int | None, int | None]:
    from simcvd.types import SimcvdError

    if not all(text.isdigit() or text == "all" for text in texts):
        raise SimcvdError(f"--margin {' '.join(texts)}: write three numbers of voxels, or all")
    x, y, z = (None if text == "all" else int(text) for text in texts)
    return x, y, z


if __name__ == "__main__":
    main()
