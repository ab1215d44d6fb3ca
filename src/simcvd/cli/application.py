"""The application that every module of commands adds to, and the options several of them share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from simcvd import __version__

Function = TypeVar("Function", bound=Callable[..., Any])


class PlainCommand(TyperCommand):
    """A command whose usage line names what is required in the usual form, without braces."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands behind the command in its usage line."""
        return [
            piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)
        ]


app = typer.Typer(
    name="simcvd",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(name: str | None = None) -> Callable[[Function], Function]:
    """Makes a function a command of the application, by default of its own name."""
    return app.command(name, cls=PlainCommand)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"simcvd {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Semi-supervised segmentation of 3D medical scans."""


SourceFolder = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="Folder of scans, in any recognised layout.")
]
LabelFolder = Annotated[Path | None, typer.Option(help="Folder of label maps.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A setting, e.g. method.tau=0.3; may be repeated."
    ),
]
Stride = Annotated[
    tuple[int, int, int] | None,
    typer.Option(help="Window stride in voxels, uniform weights (LA benchmark: 18 18 4)."),
]
OwnNetwork = Annotated[
    str | None,
    typer.Option(
        metavar="PACKAGE.MODULE:NAME",
        help="The factory of a custom network; its code is run.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Fast = Annotated[bool, typer.Option("--fast", help="Fewer windows; may cost some accuracy.")]

Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N|ADDRESS|slurm:FILE",
        help="Processes on this machine, a Dask scheduler, or Slurm jobs described in FILE.",
    ),
]
ResampleLabels = Annotated[
    bool,
    typer.Option(
        "--resample-labels", help="Resample labels drawn on another grid to their scans' grid."
    ),
]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="A plan that `simcvd plan` wrote, edited or not.")
]
Names = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="Finds a scan's name in its path."),
]
PatientPattern = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="Finds the patient in a scan's name."),
]
