"""Libraries that a malformed file can crash are called in a child process, which lives on.

ITK's codecs and HDF5 are written in C: a crash there would take all other scans along. One child a
process is started when it is first needed, asked through pipes, and replaced when it dies.
"""

from __future__ import annotations

import atexit
import os
import pickle
import selectors
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from simcvd.types import SimcvdError

# Seconds after which a file is taken to hang its reader.
PATIENCE = 300.0
_children: dict[int, subprocess.Popen[bytes]] = {}


def ask(path: Path, function: str, *arguments: Any) -> Any:
    """What ``module:function`` returns for ``(str(path), *arguments)``, computed in the child.

    The result is passed by pickle, from our own child. Raises what the function raises, and
    SimcvdError where the child dies or takes too long.
    """
    child = _child()
    try:
        _send(child.stdin, (function, (os.fspath(path), *arguments)))
        fine, result = _receive(child)
    except (OSError, EOFError, pickle.UnpicklingError) as error:  # a TimeoutError is an OSError
        code = _end(child)
        cause = f"signal {-code}" if code < 0 else f"exit {code}"
        why = "takes too long to read" if isinstance(error, TimeoutError) else "crashes its reader"
        raise SimcvdError(
            f"{path}: {why} ({cause}), so it is damaged. Copy it again from its origin."
        ) from error
    if not fine:
        raise result
    return result


def _child() -> subprocess.Popen[bytes]:
    """This process's child; a fork's belongs to its parent and is not used."""
    child = _children.get(os.getpid())
    if child is None or child.poll() is not None:
        child = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        _children[os.getpid()] = child
        atexit.register(_end, child)
    return child


def _end(child: subprocess.Popen[bytes]) -> int:
    """Stop a child, if it has not stopped by itself; its exit code before that."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(0.2)
    code = child.poll()
    child.kill()
    child.wait()
    return code or 0


def _send(pipe: Any, message: Any) -> None:
    pipe.write(pickle.dumps(message, protocol=5))
    pipe.flush()


def _receive(child: subprocess.Popen[bytes]) -> Any:
    assert child.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        if not selector.select(PATIENCE):
            raise TimeoutError
    return pickle.load(child.stdout)


def serve() -> None:
    """The child: answer one question after the other until the parent is gone."""
    questions, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    with suppress(EOFError, BrokenPipeError):
        while True:
            _send(answers, _answered(*pickle.load(questions)))


def _answered(name: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    module, _, function = name.partition(":")
    try:
        return True, getattr(__import__(module, fromlist=[function]), function)(*arguments)
    except SimcvdError as error:
        return False, error
    except Exception as error:  # a library's own exception may not survive being sent
        return False, ValueError(" ".join(str(error).split())[:500] or type(error).__name__)
