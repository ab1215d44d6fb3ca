"""The record of a plan: what is done to every scan, the network, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from simcvd.methods.registry import find
from simcvd.networks.base import Architecture
from simcvd.networks.build import architecture
from simcvd.networks.vnet import VNetConfig
from simcvd.planning.memory import step_bytes
from simcvd.preprocessing import Normalization, Preprocessing
from simcvd.ranges import BelowOne, Count, Natural, Positive, Range, Settings, Several
from simcvd.training.recipes import PAPER, find_recipe
from simcvd.transforms.augment import fine_axes
from simcvd.transforms.spatial import Augmentation
from simcvd.types import IntTriple, SimcvdError, Triple

NARROWEST = 8
NETWORK = ("widths", "blocks", "strides", "dropout")  # its settings in a plan
AVERAGED = 100  # iterations below which a recipe's average of weights has nothing to average
# Of the planned patch along each axis, in a quick plan.
QUICK_SHARE = 0.6
QUICK_LR = 0.003


@dataclass(frozen=True, kw_only=True)
class Plan(Settings):
    """How one data set is prepared and trained on.

    channels, classes: of the scans and their labels, background included.
    spacing: mm along the RAS+ axes. normalization, window: as `Preprocessing` has them.
    crop: "nonzero" keeps the box of what is not background.
    patch: voxels. network: the name of an architecture (docs/networks.md), whose settings are
    widths, blocks, strides and dropout.
    recipe: where the settings of a training begin, as `simcvd train --recipe` takes it; a plan of a
    file that does not say it is of the paper's.
    batch, labeled_batch: patches an iteration in all, and how many of them are labelled.
    base: supervised iterations before those of a method. control_iterations: those with which the
    control goes on from the base in the time that a method takes, 0 for as many. mirror: axes that
    patches are mirrored along. All three of the strong recipe.
    lr, augmentation: the first learning rate and the poses shown; as `TrainConfig` has them.
    reasons: {field: sentence}. warnings: sentences.
    Raises SimcvdError when the choices do not go together.
    """

    group: ClassVar[str] = "plan"
    channels: Count
    classes: Several
    spacing: Triple
    normalization: Normalization
    window: tuple[float, float] | None = None
    crop: Literal["none", "nonzero"] = "none"
    patch: Annotated[IntTriple, Range(least=1)]
    network: str = VNetConfig.name
    widths: Annotated[tuple[int, ...], Range(least=1)]
    blocks: Annotated[tuple[int, ...], Range(least=1)]
    strides: Annotated[tuple[IntTriple, ...], Range(least=1)]
    recipe: str = PAPER.name
    batch: Count = 4
    labeled_batch: Count = 2
    base: Natural = 0
    iterations: Count = 6000
    control_iterations: Natural = 0
    lr: Positive = 0.01
    dropout: BelowOne = 0.5
    augmentation: Augmentation = "fixed"
    mirror: Annotated[tuple[int, ...], Range(least=0, most=2)] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        Preprocessing(spacing=self.spacing, normalization=self.normalization, window=self.window)
        find_recipe(self.recipe)
        if reason := self.architecture.misfit(self.patch):
            raise SimcvdError(f"patch {list(self.patch)} does not fit the network: {reason}.")
        if self.labeled_batch > self.batch:
            raise SimcvdError(
                f"labeled_batch is {self.labeled_batch} of batch {self.batch}; "
                "it cannot be the larger."
            )

    @property
    def divisor(self) -> IntTriple:
        """What the patch must be a multiple of, voxels along each axis."""
        return self.architecture.divisor

    @property
    def architecture(self) -> Architecture:
        """The settings of the network."""
        return architecture(self.network)(**{name: getattr(self, name) for name in NETWORK})

    @property
    def memory_bytes(self) -> int:
        """Estimated peak of a step in float32, of the method that takes most; see docs/plan.md."""
        return step_bytes(
            patch=self.patch,
            network=self.architecture,
            channels=self.channels,
            classes=self.classes,
            batch=self.batch,
            labeled_batch=self.labeled_batch,
        )

    def settings(self, method: str | None = None) -> tuple[str, ...]:
        """What `train(settings=...)` and ``--set`` take; with a `method`, its own settings too.

        They are over those of the plan's recipe.
        """
        train = ("patch", "batch", "labeled_batch", "iterations", "lr", "augmentation")
        common = [f"train.{name}={getattr(self, name)}" for name in train]
        if self.recipe != PAPER.name:
            if min(self.iterations, self.base or self.iterations) < AVERAGED:
                common.append("train.average=0.0")
            if len(fine_axes(self.patch, self.spacing)) < 2:  # too thin to be turned
                common.append("augment.affine_chance=0.0")
            common += [
                f"train.unlabeled_batch={self.batch - self.labeled_batch}",
                f"train.base={self.base}",
                f"augment.mirror={self.mirror}",
            ]
        named = ("name=" + self.network,) if self.network != VNetConfig.name else ()
        common += [f"network.{setting}" for setting in named]
        common += [f"network.{name}={getattr(self, name)}" for name in NETWORK]
        return (*common, *(find(method).planned(self.patch) if method else ()))

    def prepare_arguments(self) -> dict[str, Any]:
        """Keyword arguments of :func:`simcvd.data.prepare.prepare`."""
        return {
            "spacing": self.spacing,
            "normalization": self.normalization,
            "window": self.window,
            "crop": self.crop,
        }

    def smaller(self, *, widths_factor: float = 0.5, iterations: int | None = None) -> Plan:
        """The same scans and patches with a narrower network, and perhaps fewer iterations.

        Widths are multiplied by `widths_factor`, but not to fewer than 8 filters. A base is not
        longer than the `iterations` either.
        """
        widths = tuple(min(w, max(NARROWEST, round(w * widths_factor))) for w in self.widths)
        why = f"{widths_factor:g} of the planned {list(self.widths)}, for speed."
        plan = replace(self, widths=widths, reasons={**self.reasons, "widths": why})
        return plan if iterations is None else plan.shorter(iterations=iterations, base=iterations)

    def quick(self) -> Plan:
        """For minutes on a CPU: small patches, few large steps, of the paper's recipe a narrow
        network (docs/run.md).
        """
        x, y, z = (
            max(1, round(QUICK_SHARE * n / d)) * d
            for n, d in zip(self.patch, self.divisor, strict=True)
        )
        reasons = {
            "patch": f"{QUICK_SHARE:g} of the planned {list(self.patch)}, for speed and variety.",
            "blocks": "Fewer, for speed.",
            "dropout": "Less than the benchmark's: the network is trained briefly.",
            "lr": f"Higher than of the {self.recipe} recipe, for few iterations.",
        }
        blocks = tuple(max(1, b - 1) for b in self.blocks)
        plan = replace(self, patch=(x, y, z), blocks=blocks, dropout=0.1)
        if self.recipe == PAPER.name:
            reasons["augmentation"] = "Scans as they lie: few iterations do not teach all poses."
            plan = plan.smaller(widths_factor=0.5).shorter(iterations=400)
            plan = replace(plan, lr=0.05, augmentation="none")
        else:
            plan = replace(plan.shorter(base=400, iterations=200), lr=QUICK_LR)
        return replace(plan, reasons={**plan.reasons, **reasons})

    def shorter(self, **steps: int) -> Plan:
        """With fewer ``iterations`` or a shorter ``base``; what is not fewer stays as it is."""
        fewer: dict[str, Any] = {name: n for name, n in steps.items() if n < getattr(self, name)}
        reasons = {name: f"{getattr(self, name)} were planned; fewer, for speed." for name in fewer}
        return replace(self, **fewer, reasons={**self.reasons, **reasons})
