"""A fast part of the campaign: a few records of a stranger's, with a value of another kind."""

from __future__ import annotations

import os
from pathlib import Path

from tests.faults.records import exchanges
from tests.faults.scenarios import Base

FEW = int(os.environ.get("FAULT_EXAMPLES", "3"))


def test_a_stranger_s_record_is_read_or_refused_in_a_sentence(base: Base, tmp_path: Path) -> None:
    outcomes = [one.tried(tmp_path) for one in exchanges(base, FEW)]
    assert len(outcomes) >= 7 * FEW
    assert [problem for problem in outcomes if problem] == []
