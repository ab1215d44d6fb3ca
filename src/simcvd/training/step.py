"""The one training step of the project, and a loop of one's own around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, optim

from simcvd.methods.base import Average, Method
from simcvd.networks.autocast import autocast, autocast_dtype
from simcvd.training.ema import shares_of, update_averages
from simcvd.training.faults import Faults
from simcvd.training.numbers import Numbers
from simcvd.training.optim import (
    build_optimizers,
    clip_gradients,
    rate_at,
    set_learning_rates,
    step_unless,
)
from simcvd.training.settings import TrainConfig
from simcvd.types import Batch, Progress

Row = dict[str, float | Tensor]
Result = tuple[dict[str, Tensor], Tensor]


class Learner:
    """One step of a method: Eq. (6), its gradient, every player's optimiser, the averages.

    Args:
        method: with its networks on their device.
        config: learning rate and schedule, optimiser, clipping.
        averages: what follows what; by default the method's own.
        dtype: half-precision type of the networks, None for float32.
        terms_of: the method, or what wraps it; called as it is.
        backward: of the weighted sum.
    """

    def __init__(
        self,
        method: Method,
        config: TrainConfig,
        *,
        optimizers: Mapping[str, optim.Optimizer] | None = None,
        averages: Sequence[Average] | None = None,
        dtype: torch.dtype | None = None,
        terms_of: Any = None,
        backward: Callable[[Tensor], Any] = Tensor.backward,
    ) -> None:
        self.method, self.config, self.dtype, self.backward = method, config, dtype, backward
        self.device = next(method.parameters()).device
        self.optimizers = dict(optimizers or build_optimizers(method, config))
        self.averages = list(method.averages() if averages is None else averages)
        self.terms_of = terms_of or method
        self.two_steps = type(method).later is not Method.later
        self.faults = Faults(self.device)

    def step(self, batch: Batch, progress: Progress) -> Row:
        """Learn from a batch; returns what is logged. Nothing in it waits for the device.

        A term that is not finite changes nothing from then on, until ``faults`` are asked.
        """
        numbers = self.numbers(progress)
        terms, loss = self.learn(batch, progress, numbers)
        return self.row(terms, loss, numbers)

    def numbers(self, progress: Progress) -> Numbers:
        """What this step takes from its place in the run."""
        return Numbers(
            step=progress.step,
            rate=rate_at(self.config, progress.step),
            weights=self.method.weights(progress),
            shares=shares_of(self.averages, progress.step),
        )

    def learn(self, batch: Batch, progress: Progress, numbers: Numbers) -> Result:
        """The step itself; returns the terms and their weighted sum, detached."""
        set_learning_rates(self.optimizers, numbers.rate, self.method.optimizers())
        terms, loss = self._descend(self.terms_of, batch, progress, numbers)
        if self.two_steps:
            more, second = self._descend(self.terms_of.later, batch, progress, numbers)
            terms, loss = {**terms, **more}, loss + second
        update_averages(self.averages, numbers.shares)
        return terms, loss

    def row(self, terms: Mapping[str, Tensor], loss: Tensor, numbers: Numbers) -> Row:
        """A step's row of the log."""
        return {
            "learning_rate": numbers.rate,
            "loss": loss,
            **{f"term/{name}": term for name, term in terms.items()},
            **{f"weight/{name}": numbers.weights[name] for name in terms},
        }

    def _descend(
        self,
        terms_of: Callable[[Batch, Progress], dict[str, Tensor]],
        batch: Batch,
        progress: Progress,
        numbers: Numbers,
    ) -> Result:
        """One step of every player that the terms reach; returns these and their sum, detached."""
        with autocast(self.dtype, self.device):
            terms = terms_of(batch, progress)
        self.faults.look_at(terms, numbers.step)
        weights = numbers.weights
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()  # Eq. (6)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.backward(loss)
        if self.config.clip:
            clip_gradients(self.optimizers.values(), self.config.clip)
        step_unless(self.faults.found, self.optimizers.values())
        return {name: term.detach() for name, term in terms.items()}, loss.detach()


def fit(
    method: Method, batches: Iterable[Batch], config: TrainConfig | None = None
) -> Iterator[dict[str, float]]:
    """Train a method on batches of your own, a step for each, and yield the numbers of each step.

    It is what `simcvd.train` does in its steps, without a cache, checkpoints or a run's folder.

    Args:
        method: with its networks on the device of the batches.
        batches: labelled patches first; as many as are needed are taken, and the loop ends early
            where there are fewer than ``config.iterations``.
        config: by default the paper's. Its patches, augmentation, seed and base belong to whoever
            makes the batches.

    Raises SimcvdError at a term that is not finite, before any weight follows it.

    Examples:
        Noise, in which what is brighter than the mean is to be found, seen twenty times:

        >>> from simcvd.methods.supervised import Config, Supervised
        >>> from simcvd.networks.vnet import VNetConfig
        >>> from simcvd.types import Task
        >>> size = VNetConfig(widths=(4, 8), blocks=(1, 1), strides=((2, 2, 2),))
        >>> build = lambda **heads: size.build(channels=1, classes=2, distance=False)
        >>> method = Supervised(Config(), Task(channels=1, classes=2, patch=(8, 8, 8)), build)
        >>> image = torch.randn(2, 1, 8, 8, 8)
        >>> label, distance = (image[:, 0] > 0).long(), image.new_empty(2, 0, 8, 8, 8)
        >>> batch = Batch(image=image, label=label, distance=distance, cases=("a", "b"))
        >>> rows = list(fit(method.train(), [batch] * 20))
        >>> len(rows), rows[-1]["loss"] < rows[0]["loss"]
        (20, True)
    """
    config = config or TrainConfig()
    device = next(method.parameters()).device
    learner = Learner(method, config, dtype=autocast_dtype(config.precision, device))
    steps = range(config.iterations)
    for step, batch in zip(steps, batches, strict=False):
        row = learner.step(batch, Progress(step=step, total=config.iterations))
        cases = batch.cases
        learner.faults.refuse(lambda _, cases=cases: cases)  # type: ignore[misc]
        yield {name: float(value) for name, value in {**row, **method.logged()}.items()}
