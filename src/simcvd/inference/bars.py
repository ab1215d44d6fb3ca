"""One bar a scan while it is segmented; without a terminal, one line a scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import markup
from rich.console import Console
from rich.progress import Progress

from simcvd.escape import one_line
from simcvd.inference.sliding_window import Advance

Start = Callable[[str, int], Advance]


@contextmanager
def bars(console: Console) -> Iterator[Start]:
    """Gives a function that begins a scan's bar: ``start(text, windows) -> advance``.

    Where there is no terminal, one line a scan says what the bar is called.
    """
    bars = Progress(
        *Progress.get_default_columns(), console=console, disable=not console.is_terminal
    )
    with bars as progress:

        def start(text: str, windows: int) -> Advance:
            if not console.is_terminal:
                console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)
            task = progress.add_task(markup.escape(one_line(text)), total=windows)
            return lambda done: progress.update(task, advance=done)

        yield start
