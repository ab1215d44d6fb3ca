"""The command line. Only typer is imported until a command runs, so that help answers at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Each module adds its commands, in the order that help shows them.
from simcvd.cli import data, learning, reviewing, sharing
from simcvd.cli.application import app
from simcvd.cli.arguments import joined, present, refuse_empty

__all__ = ["app", "data", "joined", "learning", "main", "reviewing", "sharing"]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Exit with 130 after Ctrl-C, whatever a library makes of it: numpy's import an endless one."""
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if interrupted and getattr(error, "exit_code", 1) != 130:  # which says so itself
            sys.exit(130)
        raise
    finally:
        signal.signal(signal.SIGINT, former)


def main() -> None:
    """Entry point: a problem the user can mend is one message, not a traceback.

    Exit codes: 0 done, 1 refused or failed, 2 used wrongly, 3 done in part, 130 interrupted.
    """
    from simcvd.escape import lines, prepare_streams
    from simcvd.machine import is_command
    from simcvd.types import SimcvdError

    prepare_streams()
    is_command()
    refuse_empty(sys.argv[1:])
    sys.argv[1:] = joined(present(sys.argv[1:]))
    try:
        with _interruptible():
            app()
    except SimcvdError as error:
        print(f"simcvd: {lines(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a path too long, a folder nobody may enter, a disk that fails
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"simcvd: {lines(f'{where}{error.strerror or error}')}", file=sys.stderr)
        sys.exit(1)
