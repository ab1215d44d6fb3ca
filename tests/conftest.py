"""Fixtures that several folders of tests use."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.small import make_cache

from simcvd.data.cache import Cache

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans beside the repository; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("the real scans are not here: ../shared/data does not exist")
    return SHARED


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Six training and two test scans of 20 x 18 x 12 voxels, three classes; see small.py."""
    return make_cache(tmp_path_factory.mktemp("small"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes get no name of their own content: it may hold a time, and each process its own names.

    pytest-xdist refuses workers whose names differ; pytest numbers the equal ones.
    """
    return argname if isinstance(val, bytes) else None
