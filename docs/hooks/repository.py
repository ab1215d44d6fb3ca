"""Pages may link to files of the repository beside docs/, as they do when read there.

For the site these files are taken in under the same path, and the links lose their ``../``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
TAKEN = ("benchmarks/results/**/*.md", "benchmarks/results/**/*.png", "examples/*.*")
OUTSIDE = re.compile(r"(\]\((?:\.\./)*)\.\./(benchmarks/results|examples)/")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files that may be linked to."""
    for path in sorted(path for pattern in TAKEN for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to them, from wherever the page lies."""
    return OUTSIDE.sub(r"\1\2/", markdown)
