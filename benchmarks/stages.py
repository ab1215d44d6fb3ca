"""Where a training step's time goes, and how far each part is from what the machine can do.

The step itself runs; its parts are wrapped. A first run counts floating-point operations and the
bytes that the operations read and write, later ones take times. The floor of a part is the larger
of its operations over the measured rate of a matrix product, in the precision the networks run
in, and its bytes over the measured bandwidth of a copy. Bytes are counted an operation at a time,
so fusing operations could go below that floor.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from rows import Parts, Stage
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from simcvd.training import step
from simcvd.training.loop import Trainer

STUDENT, TEACHER, HEADS = "forward, student", "forward, teacher", "head and losses"
STAGES = ("data and augmentation", STUDENT, TEACHER, HEADS, "backward", "optimiser", "averages")


def parts_of(trainer: Trainer, steps: int) -> Parts:
    """Medians over ``steps`` of one step's parts; what belongs to none of them comes last."""
    meter = _Meter(trainer)
    bytes_moved = _Bytes()
    with FlopCounterMode(display=False) as flops:
        counted_flops = meter.step(flops.get_total_flops)
    with bytes_moved:
        counted_bytes = meter.step(lambda: bytes_moved.count)
    times = [meter.step(lambda: _now(trainer)) for _ in range(steps)]
    rate, bandwidth = rates(trainer.fabric.device, trainer.dtype or torch.float32)
    stages = [
        Stage(
            name=name,
            seconds=median(took[name] for took in times),
            flops=counted_flops[name],
            moved=counted_bytes[name],
            floor=max(counted_flops[name] / rate, counted_bytes[name] / bandwidth),
        )
        for name in (*STAGES, "everything else")
    ]
    return Parts(stages=tuple(stages), rate=rate, bandwidth=bandwidth)


def rates(device: torch.device, dtype: torch.dtype, side: int = 1024) -> tuple[float, float]:
    """Measured FLOP a second of a matrix product, and bytes a second of a copy."""
    side = side if device.type == "cpu" else 8 * side
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    source = torch.randn(64 * 2**20 if device.type == "cpu" else 2**30, device=device)
    target = torch.empty_like(source)
    product = _best(lambda: matrix @ matrix, device)
    copy = _best(lambda: target.copy_(source), device)
    return 2 * side**3 / product, 8 * source.numel() / copy


def _best(run: Callable[[], object], device: torch.device) -> float:
    times: list[float] = []
    while len(times) < 5 or sum(times) < 1.0:  # a short disturbance must not pass for the machine
        start = _clock(device)
        run()
        times.append(_clock(device) - start)
    return min(times)


def _now(trainer: Trainer) -> float:
    return _clock(trainer.fabric.device)


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class _Meter:
    """Reads any growing number before and after each part of a trainer's step."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.read: Callable[[], float] = lambda: 0.0
        self.total: dict[str, float] = defaultdict(float)
        method = trainer.method
        method.network.register_forward_pre_hook(lambda *_: self._add(STUDENT, -1))
        method.network.register_forward_hook(lambda *_: self._add(STUDENT, 1))
        if hasattr(method, "teacher"):
            method.teacher.register_forward_pre_hook(lambda *_: self._add(TEACHER, -1))
            method.teacher.register_forward_hook(lambda *_: self._add(TEACHER, 1))
        trainer.patches.batch = self._around(STAGES[0], trainer.patches.batch)
        trainer.learner.terms_of = self._around("method", trainer.learner.terms_of)
        trainer.learner.backward = self._around("backward", trainer.learner.backward)
        for optimizer in trainer.optimizers.values():
            optimizer.step = self._around("optimiser", optimizer.step)
        step.update_averages = self._around("averages", step.update_averages)

    def step(self, read: Callable[[], float]) -> dict[str, float]:
        """By how much ``read()`` grows in every part of one step."""
        self.read, self.total = read, defaultdict(float)
        before = read()
        self.trainer.train_step()
        whole, total = read() - before, self.total
        total[HEADS] = total["method"] - total[STUDENT] - total[TEACHER]
        parts = {name: total[name] for name in STAGES}
        return {**parts, "everything else": max(whole - sum(parts.values()), 0.0)}

    def _add(self, name: str, sign: int) -> None:
        self.total[name] += sign * self.read()

    def _around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any, **named: Any) -> Any:
            self._add(name, -1)
            result = function(*arguments, **named)
            self._add(name, 1)
            return result

        return measured


class _Bytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations take and give; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and not func.name().startswith(("aten::empty", "aten::detach")):
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.count += sum(t.numel() * t.element_size() for t in tensors)
        return result
