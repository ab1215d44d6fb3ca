"""Named recipes: what is trained with which optimiser, schedule, batch and augmentation.

A recipe is frozen: results carry its name, and docs/recipes.md what each of its fields was measured
to bring. What is found to be better later gets another name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from simcvd.training.settings import TrainConfig
from simcvd.transforms.augment import STRONG as STRONG_VIEWS
from simcvd.transforms.augment import AugmentConfig
from simcvd.types import SimcvdError
from simcvd.wording import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Where the settings of a run begin; ``--set`` changes single ones."""

    name: str
    about: str
    train: TrainConfig
    augment: AugmentConfig

    def of_length(self, iterations: int) -> Recipe:
        """The recipe for so many steps: its base no longer, and no average that cannot fill."""
        fits = iterations * (1 - self.train.average) >= 1
        train = replace(
            self.train,
            iterations=iterations,
            base=min(self.train.base, iterations),
            average=self.train.average if fits else 0.0,
        )
        return replace(self, train=train)


PAPER = Recipe(
    name="paper",
    about="SimCVD, Section IV-B: SGD in steps, 2 + 2 patches, turns and flips",
    train=TrainConfig(),
    augment=AugmentConfig(),
)
STRONG = Recipe(
    name="strong",
    about="AdamW along a cosine, 4 + 2 patches, nnU-Net's kind of augmentation, averaged weights; "
    "a method starts from a supervised base",
    train=TrainConfig(
        iterations=1500,
        base=1500,
        labeled_batch=4,
        unlabeled_batch=2,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.01,
        schedule="cosine",
        floor=0.01,
        average=0.99,
    ),
    augment=STRONG_VIEWS,
)
RECIPES = {recipe.name: recipe for recipe in (PAPER, STRONG)}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; an unknown one is refused with the near misses."""
    if name not in RECIPES:
        raise SimcvdError(f"there is no recipe {name!r}; {did_you_mean(name, RECIPES)}")
    return RECIPES[name]
