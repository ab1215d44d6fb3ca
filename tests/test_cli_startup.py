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
HEAVY = {
    "torch",
    "lightning_fabric",
    "monai",
    "numpy",
    "scipy",
    "matplotlib",
    "nibabel",
    "SimpleITK",
}
IMPORT_SECONDS = """
import time
start = time.process_time()
import simcvd
print(time.process_time() - start)
"""
MODULES_AFTER = """
import sys
from simcvd.cli import main
sys.argv = {}
try:
    main()
finally:
    print("MODULES", *{{name.partition(".")[0] for name in sys.modules}})
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
    code = MODULES_AFTER.format(["simcvd", "--help"])
    last = output_of(sys.executable, "-c", code).splitlines()[-1].split()
    assert last[0] == "MODULES"
    assert "simcvd" in last
    assert HEAVY & set(last) == set()


@pytest.mark.parametrize(
    "words", ["run --images {} --out w", "run --images . --labels {} --out w", "check {}"]
)
def test_a_mistyped_folder_is_told_at_once(words: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    code = MODULES_AFTER.format(["simcvd", *words.format(missing).split()])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == f"simcvd: {missing}: there is no such folder.\n"
    assert HEAVY & set(done.stdout.splitlines()[-1].split()) == set()


def test_lightning_is_loaded_by_a_training_alone() -> None:
    code = "import sys, simcvd.pipeline; print('lightning_fabric' in sys.modules)"
    assert output_of(sys.executable, "-c", code) == "False\n"


def test_a_system_that_simcvd_does_not_run_on_is_told_what_is_missing() -> None:
    code = "import sys; sys.modules['fcntl'] = None; sys.platform = 'win32'; import simcvd"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60
    )
    assert "ImportError: win32 cannot run simcvd: this Python lacks fcntl" in done.stderr
    code = "import sys; sys.platform = 'darwin'; import simcvd; print(simcvd.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60
    )
    assert "darwin: simcvd's tests ran on Linux only" in done.stderr
    assert done.stdout == f"{simcvd.__version__}\n"


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
