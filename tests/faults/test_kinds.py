"""Each value in each kind of file exchanged for one of another kind: it is read, or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.records import exchanged
from tests.inference.tools import small_vnet, spec

from simcvd.data.cache import Cache, read_case
from simcvd.files import write_json
from simcvd.inference.known import Known, Usual
from simcvd.inference.model import DESCRIPTION, load_model, save_model
from simcvd.pipeline.presets import QUICK
from simcvd.pipeline.request import ASKED, Request
from simcvd.scoring.record import FILE, Report, read_report, write_report
from simcvd.scoring.scores import absent_score
from simcvd.types import SimcvdError

USUAL = Usual(
    scans=5,
    volumes=((8.0, 10.0, 12.5), None),
    spread=(0.1, 0.0),
    pieces=(2, 1),
    percentiles=((-1.0, 0.0, 1.0),),
    shift=0.01,
)


def written(folder: Path, cache: Cache) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """A file of each kind and what reads it, by its name."""
    known = Known(usual=USUAL, expected={"wall": (0.8, None, None)}, scans=5, largest_only=[1])
    save_model(folder / "run", small_vnet(), spec(known=known))
    scores = [absent_score("a", 1, "wall"), absent_score("b", 1, "wall")]
    write_report(Report(scores=scores, info={"split": "test"}), folder / "scores")
    asked = Request(images=folder, labels=None, work=folder / "work", preset=QUICK)
    write_json(folder / "work" / "run.json", ASKED.content(asked.record()))
    root = Path(shutil.copytree(cache.root, folder / "cache"))
    files: list[tuple[Path, Callable[[Path], Any]]] = [
        (root / "manifest.json", lambda path: Cache(path.parent)),
        (root / "cases" / "case0" / "case.json", lambda path: read_case(path.parent)),
        (folder / "run" / DESCRIPTION, lambda path: load_model(path.parent)),
        (folder / "scores" / FILE, lambda path: read_report(path.parent)),
        (folder / "work" / "run.json", ASKED.load),
    ]
    return {path.name: (path, read) for path, read in files}


def complaint(read: Callable[[Path], Any], path: Path) -> str | None:
    try:
        read(path)
    except SimcvdError as error:
        return str(error)
    return None


KINDS = ["manifest.json", "case.json", "model.json", "metrics.json", "run.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_a_sentence_comes_of_it(small_cache: Cache, tmp_path: Path, kind: str) -> None:
    path, read = written(tmp_path, small_cache)[kind]
    read(path)
    refused = taken = 0
    for what, data in exchanged(path):
        path.write_bytes(data)
        said = complaint(read, path)
        assert said is None or str(path.parent) in said, what
        taken, refused = taken + (said is None), refused + (said is not None)
    assert refused > taken / 3  # free text is taken, and what a report repeats is not read


def test_a_report_that_lacks_a_metric_is_refused(small_cache: Cache, tmp_path: Path) -> None:
    path, read = written(tmp_path, small_cache)["metrics.json"]
    content = json.loads(path.read_text().replace('"dice": null', '"dise": null'))
    content["scores"] *= 2  # as where there are two classes
    path.write_text(json.dumps(content))
    said = complaint(read, path)
    assert said is not None
    assert f"{path}: metrics of a, b missing" in said
