"""What kills and damaged records begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.faults.scenarios import Base, make_base

from simcvd.training import loop


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """Forks share no thread: torch's own would be missing in them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds, loop.CHECKPOINT_SECONDS = loop.CHECKPOINT_SECONDS, 0.0
    yield make_base(tmp_path_factory.mktemp("base"))
    loop.CHECKPOINT_SECONDS = seconds
    torch.set_num_threads(threads)
