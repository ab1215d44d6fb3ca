"""The lowest versions that pyproject.toml allows, a line each, for `make lowest`.

torch is left out, since whoever makes the environment chooses its build, and what only develops
simcvd, too.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
DEVELOPING = ("dev", "docs", "oracles")

project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
needs = [*project["dependencies"], *(n for e in extras if e not in DEVELOPING for n in extras[e])]
for need in needs:
    name, least = need.split(">=")
    if name != "torch":
        print(f"{name}=={least}")
