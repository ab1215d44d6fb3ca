"""Folders of scored runs as the engine writes them, with scores of the test's own choice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcvd.benchmark.catalogue import find_protocol
from simcvd.benchmark.protocols import Protocol
from simcvd.scoring.record import Report, write_report
from simcvd.scoring.scores import METRICS, Score

CASES = tuple(f"case{i}" for i in range(8))
HALF = find_protocol("la-half")


def write_run(
    folder: Path,
    dice: Sequence[float],
    *,
    method: str = "supervised",
    labeled: int = 8,
    seed: int = 0,
    protocol: Protocol | None = HALF,
    row: str | None = None,
    cases: Sequence[str] = CASES,
    train: Mapping[str, Any] | None = None,
    trained_on: Sequence[str] = (),
    holdout: Sequence[str] = (),
    split: str = "test",
    init: str = "",
) -> Path:
    """One class, ``dice`` a case; every distance is 10 (1 - Dice); a Dice of 0 is a miss."""
    config = {
        "run": {
            "format": 1,
            "simcvd": "0",
            "method": method,
            "labeled": [f"train{i}" for i in range(labeled)],
            "unlabeled": ["train80", *trained_on],
            "holdout": list(holdout),
            "config": {},
            "init": init,
            "train": {"seed": seed, "iterations": 3000, **(train or {})},
        },
        "data": "d" * 64,
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    info = {
        "split": split,
        "grid": "prepared",
        "spacing_mm": (1.25, 1.25, 1.25),
        "stride": protocol.stride if protocol else (1, 1, 1),
        "config": config,
    }
    scores = [_score(case, value) for case, value in zip(cases, dice, strict=True)]
    out = folder if split == "test" else folder / split
    write_report(Report(scores=scores, info=info), out)
    if protocol:
        record = {"name": protocol.name, "hash": protocol.hash(), "settings": protocol.record()}
        record |= {"row": row} if row else {}
        (folder / "protocol.json").write_text(json.dumps(record))
    return folder


def _score(case: str, dice: float) -> Score:
    distance = 10 * (1 - dice) if dice else np.nan
    values = dict.fromkeys(METRICS, distance) | {"dice": dice, "jaccard": dice / (2 - dice)}
    miss = "" if dice else "empty prediction"
    return Score(case=case, label=1, name="atrium", miss=miss, values=values)
