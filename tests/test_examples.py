"""The scripts and notebooks of examples/ run as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
STORED = 100_000  # bytes of a notebook's outputs


def run(script: Path, folder: Path) -> str:
    """What a script prints that works in a folder, which it is also given."""
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_runs(script: Path, tmp_path: Path) -> None:
    assert "Dice" in run(script, tmp_path).splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    """Its cells in order, as one script; no cell is for IPython alone."""
    script = tmp_path / "cells.py"
    cells = code_cells(notebook)
    script.write_text("\n\n".join("".join(cell["source"]) for cell in cells), encoding="utf-8")
    printed = run(script, tmp_path)
    assert printed.count("Dice") > 1
    scans = {path.name for path in (tmp_path / "scans/images").iterdir()}
    assert scans == {path.name for path in (tmp_path / "work/predictions").glob("*.nii.gz")}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_small_and_as_it_ran(notebook: Path) -> None:
    """All cells from one run in order, without an error."""
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    assert 0 < len(json.dumps(outputs)) < STORED
