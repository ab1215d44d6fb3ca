"""Work on many files at once, in processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def in_parallel(
    function: Callable[[Any], Any], items: list[Any], jobs: int | None, what: str, quiet: bool
) -> Iterator[Any]:
    """Results of `function` over `items` as they come, with a progress bar."""
    if not items:
        return
    import joblib
    from rich.console import Console
    from rich.progress import track

    processes = min(jobs or joblib.cpu_count(), len(items))
    parallel = joblib.Parallel(n_jobs=processes, return_as="generator_unordered")
    results = parallel(joblib.delayed(function)(item) for item in items)
    yield from track(
        results,
        total=len(items),
        description=what,
        disable=quiet,
        transient=True,
        console=Console(stderr=True),
    )
