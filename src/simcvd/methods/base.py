"""What a method is, and how one is found.

A method is one file of this folder that defines one :class:`Method`. There is no registry:
``find("mean_teacher")`` imports ``simcvd.methods.mean_teacher``.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn

from simcvd.types import Batch, Progress, SimcvdError

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class NetworkFactory(Protocol):
    """Builds a fresh segmentation network of the run's size."""

    def __call__(self, *, distance: bool = False) -> nn.Module:
        """A network ``[B, C, X, Y, Z]`` -> Prediction, with a distance head if asked for."""
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
    build)``, where ``config`` is the ``Config`` of its file, a frozen dataclass with the
    paper's defaults and their ranges (:mod:`simcvd.ranges`), and keeps the network that is tested
    in ``self.network``. ``distance`` is whether it asked for distance maps, ``built`` the networks
    it asked for; the engine sets both. ``least_unlabeled`` is how many unlabelled patches of a
    batch its terms mix; ``strong_views`` and ``pseudo_labels`` ask for what `Batch` has under those
    names. ``bases`` is how many supervised bases, trained with seeds apart, it starts from.
    ``before``: settings whose default is not what the method did before it had them;
    ``revision`` counts how often it came to train otherwise without a setting that says so.
    """

    uses_unlabeled: ClassVar[bool] = True
    least_unlabeled: ClassVar[int] = 1
    strong_views: ClassVar[bool] = False
    pseudo_labels: ClassVar[bool] = False
    bases: ClassVar[int] = 1
    before: ClassVar[Mapping[str, Any]] = {}
    revision: ClassVar[int] = 1
    network: nn.Module
    distance: bool = False
    built: tuple[nn.Module, ...] = ()

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

    def notes(self) -> list[str]:
        """Warnings about the run so far, a sentence or two each; the engine shows each once."""
        return []


def trainable(*modules: nn.Module) -> list[nn.Parameter]:
    """The parameters that take a gradient, in order."""
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def frozen_copy(module: NetworkT) -> NetworkT:
    """A copy that takes no gradient, to become an :class:`Average`."""
    return copy.deepcopy(module).requires_grad_(False)


def names() -> list[str]:
    """Every method there is, by file name."""
    package = importlib.import_module("simcvd.methods")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if _defined(m.name))


def find(name: str) -> type[Method]:
    """The method of ``methods/<name>.py``; an unknown name is refused with the near misses."""
    if name.isidentifier() and importlib.util.find_spec(f"simcvd.methods.{name}"):
        defined = _defined(name)
        if len(defined) == 1:
            return defined[0]
    known = names()
    near = get_close_matches(name, known) or known
    raise SimcvdError(f"there is no method {name!r}; did you mean {', '.join(near)}?")


def default_config(name: str) -> Any:
    """The ``Config`` of a method's file with nothing changed."""
    return importlib.import_module(find(name).__module__).Config()


def _defined(name: str) -> list[type[Method]]:
    module = importlib.import_module(f"simcvd.methods.{name}")
    return [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Method) and cls is not Method and cls.__module__ == module.__name__
    ]
