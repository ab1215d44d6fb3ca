"""A fast part of the campaign: a few damages and hostile headers of each format."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from tests.faults import headers
from tests.faults.damage import laid_out, reference, try_mutant, try_scan
from tests.faults.samples import WRITERS, Mutant, Sample, mutants, write_samples
from tests.inference.tools import small_vnet, spec

from simcvd.inference.model import save_model

FEW = int(os.environ.get("FAULT_EXAMPLES", "3"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small model; forks share no thread: torch's own would be missing in them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, small_vnet(), spec())
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    return write_samples(tmp_path_factory.mktemp("samples") / "all")


@pytest.mark.parametrize("format", WRITERS)
def test_a_damaged_scan_is_refused_or_harmless(
    samples: dict[str, Sample], model: Path, tmp_path: Path, format: str
) -> None:
    sound = reference(samples[format], model, tmp_path / "sound")
    assert sound is not None
    for number, mutant in enumerate(mutants(samples[format], FEW, seed=0)):
        outcome = try_mutant(mutant, model, tmp_path / str(number), sound)
        assert outcome.problems == [], outcome.name


@pytest.mark.parametrize("format", headers.BINARIES)
def test_hostile_binary_headers(samples: dict[str, Sample], model: Path, format: str) -> None:
    @settings(**PROFILE)
    @given(headers.binary())
    def hostile(changes: list[tuple[int, bytes]]) -> None:
        _refused_or_read(samples[format], model, changes)

    hostile()


@pytest.mark.parametrize("format", headers.TEXTS)
def test_hostile_text_headers(samples: dict[str, Sample], model: Path, format: str) -> None:
    @settings(**PROFILE)
    @given(headers.textual())
    def hostile(changes: list[tuple[int, bytes]]) -> None:
        _refused_or_read(samples[format], model, changes)

    hostile()


PROFILE = {
    "max_examples": FEW,
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def _refused_or_read(sample: Sample, model: Path, changes: list[tuple[int, bytes]]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="simcvd-header-"))
    try:
        scan = laid_out(Mutant(sample, 0), scratch / "data")
        if sample.format in headers.TEXTS:
            headers.write_textual(changes, scan)
        else:
            headers.write_binary(sample, changes, scan)
        assert try_scan(f"{sample.format} {changes}", scan, model, scratch).problems == []
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
