"""A whole training step as one CUDA graph: recorded once, then begun by the host with one call."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from simcvd.losses.gather import processes
from simcvd.networks.base import Staged
from simcvd.training.numbers import Numbers, row_of
from simcvd.training.optim import set_learning_rates
from simcvd.training.step import Learner, Result, Row
from simcvd.types import Batch, Progress

WARM = 3  # plain steps before a recording: optimisers' state, the compiler's and cuDNN's choices


def fits_graph(learner: Learner) -> bool:
    """Whether a graph may hold the steps: a GPU, one process, and nothing that decides as it goes.

    And asked for with SIMCVD_GRAPH=1, until `benchmarks/graph_check.py` has passed on a GPU.
    """
    method, wanted = learner.method, os.environ.get("SIMCVD_GRAPH") == "1"
    same = method.steady and all(isinstance(network, Staged) for network in method.built)
    return wanted and same and learner.device.type == "cuda" and processes() == 1


class GraphedSteps:
    """`Learner.step` for batches of one shape, a graph for each set of terms.

    Whatever differs between steps lies in memory that stays: the batch, and a row of numbers. A
    graph asks for the random state when it is begun, so that a step remains a function of seed and
    step. The tensors of what is returned hold the last step's values.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._graphs: dict[tuple[str, ...], Graph] = {}
        self._stream = torch.cuda.Stream(learner.device)
        self._off = False

    def step(self, batch: Batch, progress: Progress) -> Row:
        """As `Learner.step`."""
        learner = self.learner
        numbers = learner.numbers(progress)
        terms = tuple(numbers.weights)
        self._seen[terms] += 1
        if self._seen[terms] > WARM and terms not in self._graphs and not self._off:
            self._record(terms, batch, progress)
        graph = self._graphs.get(terms)
        if graph is None:
            return learner.row(*self._plain(batch, progress, numbers), numbers)
        return learner.row(*graph.replay(batch, numbers), numbers)

    def _plain(self, batch: Batch, progress: Progress, numbers: Numbers) -> Result:
        """On the stream of the recording, to which what a first step makes is bound."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = self.learner.learn(batch, progress, numbers)
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def _record(self, terms: tuple[str, ...], batch: Batch, progress: Progress) -> None:
        """Where the step cannot be recorded that is said, and all go on without."""
        try:
            self._graphs[terms] = Graph(self.learner, self._stream, batch, progress)
        except Exception as error:
            self._off = True
            _forget_recording(self.learner.device)
            first: BaseException = error
            while first.__context__ is not None:
                first = first.__context__
            reason = (str(first).strip() or type(first).__name__).splitlines()[0]
            print(f"\nnote: this step cannot be a CUDA graph and is taken without ({reason})")


def _forget_recording(device: torch.device) -> None:
    """Give the GPU's random generator a state that no broken recording holds, of the same seed."""
    torch.cuda.synchronize()
    seed = torch.cuda.initial_seed()
    generator = torch.cuda.default_generators[device.index or 0]
    generator.graphsafe_set_state(torch.Generator(device).graphsafe_get_state())
    torch.cuda.manual_seed(seed)


class Graph:
    """A recorded step, which has not run yet. Raises what recording raises."""

    def __init__(
        self, learner: Learner, stream: torch.cuda.Stream, batch: Batch, progress: Progress
    ) -> None:
        for optimizer in learner.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # a graph has memory of its own
        numbers = learner.numbers(progress)
        self._batch, self._row = held(batch), row_of(numbers, pinned=True).to(learner.device)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads of this process may go on to use the device meanwhile.
        how: dict[str, Any] = {"stream": stream, "capture_error_mode": "thread_local"}
        with torch.cuda.graph(self._graph, **how):
            self._result = learner.learn(self._batch, *on_device(progress, numbers, self._row))
        set_learning_rates(learner.optimizers, numbers.rate, learner.method.optimizers())

    def replay(self, batch: Batch, numbers: Numbers) -> Result:
        """One step; nothing is waited for."""
        refill(self._batch, batch)
        self._row.copy_(row_of(numbers, pinned=True), non_blocking=True)
        self._graph.replay()
        return self._result


def on_device(progress: Progress, numbers: Numbers, row: Tensor) -> tuple[Progress, Numbers]:
    """What `Learner.learn` takes, read from a row of the device."""
    moved = numbers.read_from(row)
    return dataclasses.replace(progress, now=row[0]), moved


def held(batch: Batch) -> Batch:
    """A copy of its tensors in memory of their own."""
    copies: dict[str, Any] = {name: tensor.clone() for name, tensor in _tensors(batch)}
    return dataclasses.replace(batch, **copies)


def refill(to: Batch, batch: Batch) -> None:
    """Fill the tensors of one batch with another's."""
    for (_, kept), (_, new) in zip(_tensors(to), _tensors(batch), strict=True):
        kept.copy_(new, non_blocking=True)


def _tensors(batch: Batch) -> list[tuple[str, Tensor]]:
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return [(name, value) for name, value in values.items() if isinstance(value, Tensor)]
