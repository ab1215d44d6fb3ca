"""One line that shows how a training goes."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simcvd.training.log import Row
from simcvd.wording import duration

_PLAIN_SECONDS = 30.0  # between lines where there is no terminal


class ProgressLine:
    """A bar with loss, speed and time left; plain lines where output is not a terminal.

    No line is longer than 80 columns; the terms of the loss are in the log.
    """

    def __init__(self, step: int, total: int, *, enabled: bool) -> None:
        self._console = Console(quiet=not enabled)
        self._first, self._total = step, total
        self._started = self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            disable=not (enabled and self._console.is_terminal),
        )
        self._task = self._bar.add_task("training", total=total, completed=step, text="")

    def __enter__(self) -> ProgressLine:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, step: int, row: Row) -> None:
        """Bring the line up to ``step``."""
        now = time.monotonic()
        pace = (now - self._started) / max(step - self._first, 1)
        text = f"loss {row['loss']:.3f}, {pace:.2f} s/step"
        self._bar.update(self._task, completed=step, text=text)
        last = step == self._total
        if not self._console.is_terminal and (last or now - self._printed > _PLAIN_SECONDS):
            left = pace * (self._total - step)
            line = f"step {step}/{self._total}: {text}, {duration(left)} left"
            self._console.print(line, soft_wrap=True)
            self._printed = now
