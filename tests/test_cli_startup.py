"""The command answers at once: nobody waits three seconds of torch for a help text."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

import simcvd
from simcvd.cli.arguments import joined

COMMAND = Path(sys.executable).with_name("simcvd")
HEAVY = {"torch", "lightning", "monai", "numpy", "scipy", "matplotlib", "nibabel", "SimpleITK"}
IMPORT_SECONDS = """
import time
start = time.process_time()
import simcvd
print(time.process_time() - start)
"""
MODULES_AFTER_HELP = """
import sys
from simcvd.cli import main
sys.argv = ["simcvd", "--help"]
try:
    main()
finally:
    print("MODULES", *{name.partition(".")[0] for name in sys.modules})
"""


def output_of(*arguments: str | Path) -> str:
    done = subprocess.run(arguments, check=True, capture_output=True, encoding="utf-8", timeout=60)
    return done.stdout


def processor_seconds(*arguments: str | Path) -> float:
    """User and system time of a command: its wall time where nothing else takes the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output_of(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_short_help_and_the_version() -> None:
    assert output_of(COMMAND, "run", "-h") == output_of(COMMAND, "run", "--help")
    assert output_of(COMMAND, "--version") == f"simcvd {simcvd.__version__}\n"


def test_help_within_half_a_second() -> None:
    seconds = [processor_seconds(COMMAND, "--help") for _ in range(3)]
    assert min(seconds) <= 0.5, f"simcvd --help took {seconds} s"


def test_help_names_every_step_of_the_job() -> None:
    text = output_of(COMMAND, "--help")
    assert all(name in text for name in ("prepare", "train", "predict", "evaluate", "demo"))


def test_help_imports_nothing_heavy() -> None:
    last = output_of(sys.executable, "-c", MODULES_AFTER_HELP).splitlines()[-1].split()
    assert last[0] == "MODULES"
    assert "simcvd" in last
    assert HEAVY & set(last) == set()


def test_importing_the_package_is_instant() -> None:
    seconds = [float(output_of(sys.executable, "-c", IMPORT_SECONDS)) for _ in range(3)]
    assert min(seconds) < 0.1, f"import simcvd took {seconds} s"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--spacing 1 1 2.5 2018", ["--spacing", "1,1,2.5", "2018"]),
        ("--spacing 1 2018", ["--spacing", "1", "2018"]),
        ("2018 --spacing 1", ["2018", "--spacing", "1"]),
        ("--spacing 1 1 2 --out 3", ["--spacing", "1,1,2", "--out", "3"]),
    ],
)
def test_three_numbers_are_one_spacing_and_a_fourth_is_a_folder(
    typed: str, meant: list[str]
) -> None:
    assert joined(typed.split()) == meant
