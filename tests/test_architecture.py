"""Imports run one way (docs/design.md), read from the source with ``ast``.

Every import counts, also inside a function and under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import simcvd

Statement = ast.Import | ast.ImportFrom
SOURCE = Path(simcvd.__file__).parent
RANKS = (
    (
        *("types", "ranges", "schedules", "distance", "files", "locks", "escape", "machine"),
        *("wording", "naming", "plugins", "preprocessing", "records", "torch_state", "colours"),
        "workers",
    ),
    ("losses", "networks", "metrics", "transforms", "formats"),
    ("layouts",),
    ("data", "methods"),
    ("checking",),
    ("inference", "scoring"),
    ("training",),
    (
        "experiments",
        "benchmark",
        "report",
        "demo",
        "planning",
        "pipeline",
        "share",
        "info",
        "review",
        "active",
    ),
    ("cli", "api"),
    ("__init__",),
)
RANK = {unit: rank for rank, units in enumerate(RANKS) for unit in units}
# The records of types.py serve rank 0 too, and a demo shows its report; cycles stay forbidden.
SIBLINGS_MAY_IMPORT = {0, 7}
SLOW_TO_IMPORT = {
    *("SimpleITK", "h5py", "highdicom", "matplotlib", "nibabel", "onnx", "onnxruntime", "pydicom"),
}


class Import(NamedTuple):
    """``unit`` (a module or package right below simcvd) imports ``target``, another one."""

    unit: str
    target: str
    where: str


def import_statements(nodes: Iterable[ast.AST]) -> Iterator[Statement]:
    return (node for node in nodes if isinstance(node, Statement))


def imported_names(node: Statement, package: list[str]) -> list[str]:
    """The dotted names an import statement inside ``package`` may bind, relative ones resolved."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    above = package[: len(package) - node.level + 1] if node.level else []
    module = [*above, node.module] if node.module else above
    return [".".join([*module, alias.name]) for alias in node.names]


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def imports_between_units(source: Path) -> list[Import]:
    found = []
    for file in sorted(source.rglob("*.py")):
        below = file.relative_to(source).with_suffix("").parts
        unit, package = below[0], ["simcvd", *below[:-1]]
        for node in import_statements(ast.walk(parsed(file))):
            for name in imported_names(node, package):
                top, _, rest = name.partition(".")
                target = rest.partition(".")[0]
                if top == "simcvd" and target not in ("", unit, "__version__"):
                    where = f"{file.relative_to(source)}:{node.lineno}"
                    found.append(Import(unit, target, where))
    return found


def violations(source: Path) -> list[str]:
    """One line for every import that breaks the order of ranks; empty when all is well."""
    found = imports_between_units(source)
    unknown = sorted({name for i in found for name in (i.unit, i.target)} - set(RANK))
    if unknown:
        return [f"{', '.join(unknown)}: no rank in RANKS"]
    wrong = [f"{i.where}: {i.unit} imports {i.target}" for i in found if not allowed(i)]
    return wrong + cycles(found)


def allowed(edge: Import) -> bool:
    rank, target = RANK[edge.unit], RANK[edge.target]
    return target < rank or (target == rank and rank in SIBLINGS_MAY_IMPORT)


def cycles(found: list[Import]) -> list[str]:
    graph = defaultdict(set)
    for i in found:
        graph[i.unit].add(i.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"cycle: {' -> '.join(error.args[1])}"]
    return []


def test_imports_run_one_way() -> None:
    assert violations(SOURCE) == []


def test_every_part_has_a_rank() -> None:
    parts = {path.stem for path in SOURCE.iterdir() if (path.suffix == ".py" or path.is_dir())}
    assert parts - set(RANK) - {"__init__", "__main__", "__pycache__"} == set()


def test_slow_libraries_are_imported_where_they_are_used() -> None:
    top_level = [
        f"{file.relative_to(SOURCE)}: {name}"
        for file in sorted(SOURCE.rglob("*.py"))
        for node in import_statements(parsed(file).body)
        for name in imported_names(node, [])
        if name.partition(".")[0] in SLOW_TO_IMPORT
    ]
    assert top_level == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("types.py", "from simcvd.losses import x", "types.py:2: types imports losses"),
        (
            "losses/bad.py",
            "import simcvd.networks.vnet",
            "losses/bad.py:2: losses imports networks",
        ),
        ("methods/bad.py", "from ..data import cache", "methods/bad.py:2: methods imports data"),
        ("methods/bad.py", "from .. import training", "methods/bad.py:2: methods imports training"),
        ("data/bad.py", "from simcvd import methods", "data/bad.py:2: data imports methods"),
        (
            "training/bad.py",
            "from simcvd.cli import main",
            "training/bad.py:2: training imports cli",
        ),
        ("losses/bad.py", "from simcvd.misc import x", "misc: no rank in RANKS"),
    ],
)
def test_a_planted_violation_is_caught(
    tmp_path: Path, file: str, line: str, complaint: str
) -> None:
    planted = tmp_path / file
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(f"def function():\n    {line}\n", encoding="utf-8")
    assert violations(tmp_path) == [complaint]


def test_a_cycle_of_siblings_is_caught(tmp_path: Path) -> None:
    (tmp_path / "demo.py").write_text("from simcvd import report\n", encoding="utf-8")
    assert violations(tmp_path) == []
    (tmp_path / "report.py").write_text("from simcvd import demo\n", encoding="utf-8")
    assert [line.partition(":")[0] for line in violations(tmp_path)] == ["cycle"]


def test_lower_ranks_and_the_own_package_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    lines = ["from simcvd.types import Batch", "from .ema import update", "import torch"]
    (tmp_path / "training" / "loop.py").write_text("\n".join(lines), encoding="utf-8")
    assert violations(tmp_path) == []
