"""The command answers at once: nobody waits three seconds of torch for a help text."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

COMMAND = Path(sys.executable).with_name("simcvd")
HEAVY = {"torch", "lightning", "monai", "numpy", "scipy", "matplotlib", "nibabel", "SimpleITK"}
IMPORT_SECONDS = """
import time
start = time.perf_counter()
import simcvd
print(time.perf_counter() - start)
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
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def test_help_within_half_a_second() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        text = output_of(COMMAND, "--help")
        seconds.append(time.perf_counter() - start)
    assert all(command in text for command in ("prepare", "train", "predict", "evaluate", "demo"))
    assert min(seconds) <= 0.5, f"simcvd --help took {seconds} s"


def test_help_imports_nothing_heavy() -> None:
    last = output_of(sys.executable, "-c", MODULES_AFTER_HELP).splitlines()[-1].split()
    assert last[0] == "MODULES"
    assert "simcvd" in last
    assert HEAVY & set(last) == set()


def test_importing_the_package_is_instant() -> None:
    seconds = [float(output_of(sys.executable, "-c", IMPORT_SECONDS)) for _ in range(3)]
    assert min(seconds) < 0.1, f"import simcvd took {seconds} s"
