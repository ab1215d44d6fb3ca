"""What typer cannot take by itself: options of one or three numbers, numbers or words."""

from __future__ import annotations

import sys
from pathlib import Path

FORMER = {"--jobs": "--workers", "--dask": "--workers"}


def present(arguments: list[str]) -> list[str]:
    """With options that had another name once by the name that they have now."""
    parts = [argument.partition("=") for argument in arguments]
    return [FORMER.get(name, name) + equals + value for name, equals, value in parts]


def refuse_empty(arguments: list[str]) -> None:
    """Exit with 2 for an empty argument: as a path it would be the folder that one stands in."""
    for before, argument in zip(["simcvd", *arguments], arguments, strict=False):
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            where = argument or f"behind {before}"
            print(
                f"simcvd: {where}: an empty argument, as a shell variable that is not set leaves "
                "it; give a value, or leave the option out",
                file=sys.stderr,
            )
            sys.exit(2)


def joined(arguments: list[str]) -> list[str]:
    """``--spacing 1 1 2`` as ``--spacing 1,1,2``: typer's options take a fixed count only."""
    if "--spacing" not in arguments:
        return arguments
    after = arguments.index("--spacing") + 1
    three = arguments[after : after + 3]
    if len(three) < 3 or not all(text.replace(".", "", 1).isdigit() for text in three):
        return arguments  # one number; what follows it may be a folder called 2018
    return [*arguments[:after], ",".join(three), *joined(arguments[after + 3 :])]


def numbers(option: str, text: str) -> tuple[float, ...]:
    """``1,1,2`` as numbers; ``option`` is named where that fails."""
    from simcvd.types import SimcvdError

    try:
        return tuple(map(float, text.split(",")))
    except ValueError as error:
        raise SimcvdError(f"{option} {text}: write one number, or three") from error


def margin_of(texts: tuple[str, str, str]) -> tuple[int | None, int | None, int | None]:
    """Numbers of voxels, None for ``all``."""
    from simcvd.types import SimcvdError

    if not all(text.isdigit() or text == "all" for text in texts):
        raise SimcvdError(f"--margin {' '.join(texts)}: write three numbers of voxels, or all")
    x, y, z = (None if text == "all" else int(text) for text in texts)
    return x, y, z


def check_folders(*folders: Path | None) -> None:
    """Refuse a mistyped folder, the most frequent mistake, before anything heavy is loaded."""
    from simcvd.types import SimcvdError

    for folder in folders:
        if folder is not None and not folder.is_dir():
            raise SimcvdError(f"{folder}: there is no such folder.")
