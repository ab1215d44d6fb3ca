"""Puts a fault into simcvd's file operations; Python imports it first where it is on PYTHONPATH.

FAULT_COUNT names a file that grows by a byte with every operation of every process. At the one of
number FAULT_AT the process is killed, or the operation fails as FAULT_KIND says.
"""

import os
import signal
from pathlib import Path


def _fault(operation: str, path: Path) -> None:
    counter = os.open(os.environ["FAULT_COUNT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(counter, b".")
    number = os.fstat(counter).st_size
    os.close(counter)
    if number != int(os.environ.get("FAULT_AT", "0")):
        return
    if os.environ.get("FAULT_KIND", "kill") == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    error = int(os.environ["FAULT_KIND"])
    raise OSError(error, os.strerror(error))


def install() -> None:
    """Have every change on the disk counted from now on, if the environment asks for it."""
    from simcvd import files

    if "FAULT_COUNT" in os.environ:
        files.watch = _fault


install()
