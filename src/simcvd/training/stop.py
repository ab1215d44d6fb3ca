"""A request to stop, remembered until the step is over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from simcvd.types import SimcvdError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Interrupted(SimcvdError):
    """Training was asked to stop and can be resumed."""

    exit_code = 130


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt inside, as SIGINT does; only if the main thread enters."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopRequest:
    """Catches SIGTERM and SIGINT while it is entered.

    In a thread other than the main one it catches nothing: signals are the main thread's, which may
    have a way of its own with them.
    """

    def __init__(self) -> None:
        self._asked = False
        self._everywhere: Tensor | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def asked(self, fabric: Fabric) -> bool:
        """Whether any process was asked, so that all stop at the same step.

        Several processes learn it a step late, and wait for no more than that step.
        """
        if fabric.world_size == 1:
            return self._asked
        before = self._everywhere
        self._everywhere = torch.full((), float(self._asked), device=fabric.device)
        distributed.all_reduce(self._everywhere)
        return before is not None and bool(before > 0)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
