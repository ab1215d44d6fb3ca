"""The command line. Only typer is imported until a command runs, so that help answers at once."""

from __future__ import annotations

import sys

# Each module adds its commands, in the order that help shows them.
from simcvd.cli import data, learning, reviewing, sharing
from simcvd.cli.application import app
from simcvd.cli.arguments import joined

__all__ = ["app", "data", "joined", "learning", "main", "reviewing", "sharing"]


def main() -> None:
    """Entry point: a problem the user can mend is one message, not a traceback."""
    from simcvd.types import SimcvdError

    sys.argv[1:] = joined(sys.argv[1:])
    try:
        app()
    except SimcvdError as error:
        print(f"simcvd: {error}", file=sys.stderr)
        sys.exit(130 if type(error).__name__ == "Interrupted" else 1)
