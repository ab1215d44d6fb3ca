"""What a training shows while it goes on."""

from __future__ import annotations

import pytest

from simcvd.training.progress import ProgressLine


def test_a_line_fits_80_columns_however_many_terms_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terms = {f"term/consistency_{number}": 0.123456 for number in range(12)}
    with ProgressLine(0, 300_000, enabled=True) as line:
        line.show(300_000, {"loss": 1234.5678, **terms})
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("step 300000/300000: loss 1234.568, ")
    assert len(said) <= 80
