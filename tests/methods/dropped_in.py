"""A package with a method of its own, as pip would have installed it."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "own.md"
METHOD = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


def install(
    site: Path, *, package: str = "sharing", name: str = "shares", text: str = METHOD
) -> None:
    """Write module and metadata of a package into ``site``, which is to be on the path."""
    info = site / f"{package}-2.5.dist-info"
    info.mkdir(parents=True)
    (site / f"{package}.py").write_text(text, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(f"[simcvd.methods]\n{name} = {package}:Shares\n")
