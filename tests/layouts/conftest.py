"""The small made-up scans of tests/data, as fixtures."""

from tests.data.conftest import folders, la_folder

__all__ = ["folders", "la_folder"]
