"""What a method is; :mod:`simcvd.methods.registry` finds one by its name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn, optim

from simcvd.types import Batch, IntTriple, Progress

NetworkT = TypeVar("NetworkT", bound=nn.Module)


NewOptimizer = Callable[[list[nn.Parameter]], optim.Optimizer]


class NetworkFactory(Protocol):
    """Builds a fresh segmentation network of the run's size."""

    def __call__(self, *, distance: bool = False, features: bool = False) -> nn.Module:
        """A network ``[B, C, X, Y, Z]`` -> Prediction, with the two of its maps if asked for."""
        ...


class Average(NamedTuple):
    """A module whose parameters follow another's: theta <- decay theta + (1 - decay) source.

    statistics: floating-point buffers, the running statistics of batch norms, follow too; else
    the average has its own.
    """

    average: nn.Module
    source: nn.Module
    decay: float
    statistics: bool = False


class Method(nn.Module):
    """The networks and loss terms of one way of learning; the engine owns everything else.

    A subclass is final: methods share functions, not ancestors. It takes ``(config, task,
    build)``, where ``config`` is the ``Config`` beside it, a frozen dataclass with the
    paper's defaults and their ranges (:mod:`simcvd.ranges`), and keeps the network that is tested
    in ``self.network``.
    """

    title: ClassVar[str] = ""
    """What tables and reports call it; by default its name."""
    cost: ClassVar[float] = 1.5
    """Time of an iteration as a multiple of the supervised method's, for estimates before any run:
    passes of a network over a patch, a backward counted as two forwards, divided by the 12 of the
    supervised method (4 patches forward and backward), plus 0.1 or so for critics and heads."""
    uses_unlabeled: ClassVar[bool] = True
    least_unlabeled: ClassVar[int] = 1
    """Unlabelled patches of a batch that its terms mix."""
    strong_views: ClassVar[bool] = False
    """Asks for `Batch.strong`."""
    pseudo_labels: ClassVar[bool] = False
    """Asks for `Batch.target`."""
    bases: ClassVar[int] = 1
    """Supervised bases, trained with seeds apart, that it starts from."""
    steady: ClassVar[bool] = False
    """Steps with the same terms do the same operations, whatever the batch holds: a CUDA graph may
    record one and repeat it. ``forward`` then takes from ``progress.fraction`` a scalar of the
    device, whose value it cannot ask for; what it keeps in plain attributes stays as recorded."""
    leaves_unused: ClassVar[bool] = False
    """Some step gives some parameter no gradient; processes that train together must know."""
    before: ClassVar[Mapping[str, Any]] = {}
    """Settings whose default is not what the method did before it had them."""
    revision: ClassVar[int] = 1
    """Counts how often it came to train otherwise without a setting that says so."""
    network: nn.Module
    distance: bool = False
    """Whether it asked for distance maps; the engine sets it."""
    built: tuple[nn.Module, ...] = ()
    """The networks it asked for; the engine sets them."""

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The batch's loss terms by name: unweighted scalars."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def later(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Terms of a second step on the same batch, made after the first step was taken.

        For a critic that learns from what the network now answers.
        """
        return {}

    def logged(self) -> dict[str, float | Tensor]:
        """Numbers of the last step that are logged and not learnt from."""
        return {}

    def weights(self, progress: Progress) -> dict[str, float]:
        """The weight of every term of ``forward`` and ``later``, at this point of the run."""
        raise NotImplementedError(f"{type(self).__name__} has no weights")

    def averages(self) -> list[Average]:
        """Modules that the engine updates as moving averages after each step."""
        return []

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by player; each player has an optimiser of its own (training/optim.py)."""
        return {"network": trainable(self)}

    def optimizers(self) -> dict[str, NewOptimizer]:
        """Players that do not learn as the run's settings say, and the optimiser of each.

        Their learning rate is the method's and stays; all other players have the run's.
        """
        return {}

    @classmethod
    def planned(cls, patch: IntTriple) -> tuple[str, ...]:
        """Settings that follow from the patch of a plan, as ``--set`` takes them."""
        return ()

    @classmethod
    def held(cls, patch: IntTriple | None = None) -> int:
        """Numbers that its heads hold in a step beside its networks, for estimates of memory.

        patch: that of a plan, with what `planned` gives; None for the method's own defaults.
        """
        return 0

    def notes(self) -> list[str]:
        """Warnings about the run so far, a sentence or two each; the engine shows each once."""
        return []


def trainable(*modules: nn.Module) -> list[nn.Parameter]:
    """The parameters that take a gradient, in order."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def frozen_copy(module: NetworkT) -> NetworkT:
    """A copy that takes no gradient, to become an :class:`Average`."""
    return copy.deepcopy(module).requires_grad_(False)
