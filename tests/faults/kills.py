"""Every verb killed, or its disk filled, at each of its file operations, and typed again.

A `Scenario` is one command and what must lie there before it. It runs once undisturbed; then, for
each of its file operations, once more with the fault there and again without: the folder must end
with the same bytes. Processes are forked from one that has imported everything, so that a trial
takes the time of the work alone.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import simcvd

HOOK = Path(__file__).parent / "hook"
SOURCE = Path(__file__).parents[2] / "src"
LIMIT_SECONDS = 600.0
LIBRARIES = ("SimpleITK", "h5py", "highdicom", "nibabel", "matplotlib.backends.backend_agg")
# Times and machines, which differ between two runs of the same command.
UNEQUAL = ("seconds", "made_with", "stat", "mtime_ns", "digest")
# The log says what was printed, by how many processes; the state holds the time it took.
# A review's states hold dates of files.
LEFT_OUT = re.compile(
    r"(^|/)(runs/[^/]+\.log|checkpoints/.*\.pt|\.rows/.*\.json|review/states\.json)$"
)
BY_TIME = re.compile(r"(^|/)review/former/")  # copies of labels that were replaced, by their date
Command = Sequence[str] | Callable[[], None]


@dataclass(frozen=True)
class Scenario:
    """A command to be killed.

    arguments: with WORK for the trial's folder, or a function of it that does what a page asks
    for. prepare: fills that folder before the command. code: which it ends with.
    """

    name: str
    arguments: Sequence[str] | Callable[[Path], None]
    prepare: Callable[[Path], None] = field(default=lambda _: None)
    code: int = 0

    def command(self, work: Path) -> Command:
        """As typed."""
        if callable(self.arguments):
            return partial(self.arguments, work)
        return [word.replace("WORK", str(work)) for word in self.arguments]


@dataclass
class Trial:
    """One fault at one operation. problem: "" where all went as it should."""

    scenario: str
    operation: int
    struck: bool
    problem: str = ""


class Ended(NamedTuple):
    """How a command ended: exit code (negative: a signal), output, most bytes it held at once."""

    code: int
    said: str
    peak: int


def preload() -> None:
    """Import once what commands import when they run, and not in every fork anew."""
    own = [module.name for module in pkgutil.walk_packages(simcvd.__path__, "simcvd.")]
    for name in (*own, *LIBRARIES):
        if not name.endswith("__main__"):
            importlib.import_module(name)


def trials(
    scenario: Scenario, scratch: Path, *, every: int = 1, kind: str = "kill"
) -> Iterator[Trial]:
    """A fault at every n-th operation of a scenario. kind: "kill", or the number of an OSError."""
    total, wanted = undisturbed(scenario, scratch)
    for number in range(1, total + 1, every):
        yield one_trial(scenario, scratch / f"trial_{number}", number, kind, wanted)


def undisturbed(scenario: Scenario, scratch: Path) -> tuple[int, dict[str, str]]:
    """How many operations a scenario has, and the `tree` it ends with."""
    reference = _begun(scenario, scratch / "reference")
    counter = scratch / "count"
    code, said, _ = typed(scenario.command(reference), {"FAULT_COUNT": str(counter)})
    if code != scenario.code:
        raise AssertionError(f"{scenario.name} undisturbed ended with {code}:\n{said}")
    return counter.stat().st_size, tree(reference)


def one_trial(
    scenario: Scenario, folder: Path, number: int, kind: str, wanted: dict[str, str]
) -> Trial:
    """The fault at one operation, and the command typed again."""
    work, counter = _begun(scenario, folder), folder / "count"
    faults = {"FAULT_COUNT": str(counter), "FAULT_AT": str(number), "FAULT_KIND": kind}
    code, said, _ = typed(scenario.command(work), faults)
    reached = counter.stat().st_size if counter.exists() else 0
    trial = Trial(scenario.name, number, struck=reached >= number)
    if trial.struck and kind != "kill" and (code not in (0, 1, 3) or "Traceback" in said):
        trial.problem = f"the fault ended it with {code}:\n{said[-2000:]}"
        return trial
    code, said, _ = typed(scenario.command(work), {})
    if code != scenario.code:
        trial.problem = f"typed again it ended with {code}:\n{said[-2000:]}"
    elif found := _difference(wanted, tree(work)):
        trial.problem = f"ends otherwise than undisturbed: {found}"
    shutil.rmtree(folder)
    return trial


def typed(command: Command, environment: dict[str, str], *, limit: float = LIMIT_SECONDS) -> Ended:
    """``simcvd`` in a fork of this process."""
    log = Path(f"/tmp/simcvd-faults-{os.getpid()}-{time.monotonic_ns()}")
    child = os.fork()
    if child == 0:
        _become(command, environment, log)
    code, peak = _waited(child, limit)
    said = log.read_text(encoding="utf-8", errors="replace")
    log.unlink()
    return Ended(code, said, peak)


def _become(command: Command, environment: dict[str, str], log: Path) -> None:
    """The fork's whole life."""
    code = 70
    try:
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.update(environment)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HOOK), str(SOURCE)])
        sys.path.insert(0, str(HOOK))
        import sitecustomize

        sitecustomize.install()
        _do(command)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _do(command: Command) -> None:
    from simcvd.cli import main
    from simcvd.types import SimcvdError

    if not callable(command):
        sys.argv = ["simcvd", *command]
        return main()
    try:
        command()
    except SimcvdError as error:
        sys.exit(str(error))


def _waited(child: int, limit: float) -> tuple[int, int]:
    until = time.monotonic() + limit
    while time.monotonic() < until:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), 1024 * usage.ru_maxrss
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    _, _, usage = os.wait4(child, 0)
    return -signal.SIGALRM, 1024 * usage.ru_maxrss


def tree(folder: Path) -> dict[str, str]:
    """A hash of every file's content, times and places apart."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not BY_TIME.search(name):
            found[name] = "" if LEFT_OUT.search(name) else _content(path, folder)
    return found


def _content(path: Path, folder: Path) -> str:
    data = path.read_bytes().replace(str(folder).encode(), b"@")
    if path.name == "report.html":
        data = re.sub(rb"[0-9a-f]{7,64}", b"", data)
    if path.suffix in (".json", ".jsonl"):
        parsed = (
            [json.loads(line) for line in data.splitlines()]
            if path.suffix == ".jsonl"
            else (json.loads(data))
        )
        data = json.dumps(_equal(parsed)).encode()
    if path.name == "log.csv":  # the second column is the time
        data = b"\n".join(re.sub(rb"^([^,]*),[^,]*", rb"\1", line) for line in data.splitlines())
    return hashlib.sha256(data).hexdigest()


def _equal(value: object) -> object:
    if isinstance(value, dict):
        return {k: _equal(v) for k, v in value.items() if k not in UNEQUAL}
    return [_equal(v) for v in value] if isinstance(value, list) else value


def _difference(wanted: dict[str, str], found: dict[str, str]) -> str:
    missing, more = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    changed = sorted(n for n in set(wanted) & set(found) if wanted[n] != found[n])
    parts = (("missing", missing), ("besides", more), ("changed", changed))
    return "; ".join(f"{what} {', '.join(names[:4])}" for what, names in parts if names)


def _begun(scenario: Scenario, folder: Path) -> Path:
    work = folder / "work"
    work.mkdir(parents=True)
    scenario.prepare(work)
    return work


def summary(done: Iterable[Trial]) -> str:
    """How many of each scenario's faults were survived, and what was wrong with the others."""
    lines, all_trials = [], list(done)
    for name in dict.fromkeys(t.scenario for t in all_trials):
        mine = [t for t in all_trials if t.scenario == name]
        good = sum(not t.problem for t in mine)
        lines.append(f"{name:<12} {good} of {len(mine)} resumed with the same bytes")
        lines += [f"  operation {t.operation}: {t.problem}" for t in mine if t.problem]
    return "\n".join(lines)
