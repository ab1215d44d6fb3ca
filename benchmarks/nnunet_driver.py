"""Trains nnU-Net until a budget is spent, and predicts; nnunet_peer.py runs it in nnU-Net's venv.

    python nnunet_driver.py DATASET IMAGES OUT (--seconds S | --patches N) [--seed SEED]

Plan, network, loss, optimiser, augmentation and mirrored windows are nnU-Net's defaults. The rate
falls along its own curve, over the budget in place of 250,000 iterations, and what would only be
looked at is left out: validation on training patches, and the prediction of the training scans.
Typed again, it goes on from its last checkpoint. Writes OUT/spent.json and OUT/predictions.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from nnunetv2 import paths
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

CONFIGURATION = "3d_fullres"
CHECKPOINT_SECONDS = 60.0


@dataclass
class Spent:
    """What the training has used so far."""

    seconds: float = 0.0
    steps: int = 0
    patches: int = 0


@dataclass(frozen=True)
class Budget:
    """One of the two ends a training; seconds are of the wall clock, from its first iteration."""

    seconds: float | None
    patches: int | None

    def share(self, spent: Spent) -> float:
        """How much of it is used, 1 and above for all."""
        if self.seconds is not None:
            return spent.seconds / self.seconds
        assert self.patches is not None
        return spent.patches / self.patches


class Budgeted(nnUNetTrainer):
    """nnU-Net's trainer with another end."""

    def train_until(self, budget: Budget, checkpoint: Path, seed: int) -> Spent:
        """Train to the end of the budget from wherever the checkpoint stands."""
        self.on_train_start()
        spent = self._restored(checkpoint)
        for generator in (random.seed, np.random.seed, torch.manual_seed):
            generator(seed + spent.steps)
        self.network.train()
        before, saved = spent.seconds, time.monotonic()
        started = saved
        while (share := budget.share(spent)) < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1 - share) ** 0.9
            self.train_step(next(self.dataloader_train))
            spent.steps += 1
            spent.patches += self.batch_size
            spent.seconds = before + time.monotonic() - started
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._keep(checkpoint, spent)
                saved = time.monotonic()
        self._keep(checkpoint, spent)
        return spent

    def _restored(self, checkpoint: Path) -> Spent:
        if not checkpoint.exists():
            return Spent()
        state = torch.load(checkpoint, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        return Spent(**state["spent"])

    def _keep(self, checkpoint: Path, spent: Spent) -> None:
        temporary = checkpoint.with_suffix(".tmp")
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "spent": asdict(spent),
        }
        torch.save(state, temporary)
        os.replace(temporary, checkpoint)


def make_trainer(dataset: str) -> Budgeted:
    """Of the preprocessed data set's own plan, on all its scans."""
    folder = Path(paths.nnUNet_preprocessed.get()) / dataset
    plans, about = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("nnUNetPlans.json", "dataset.json")
    )
    return Budgeted(
        plans={**plans, "continue_training": False},
        configuration=CONFIGURATION,
        fold="all",
        dataset_json=about,
        device=torch.device("cpu"),
    )


def predict(trainer: Budgeted, images: Path, out: Path) -> None:
    """Label maps of every scan in a folder, with nnU-Net's windows, mirrored as it was trained."""
    trainer.set_deep_supervision_enabled(False)
    predictor = nnUNetPredictor(device=trainer.device, allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    out.mkdir(parents=True, exist_ok=True)
    # One after another in this process; what is there already is kept.
    predictor.predict_from_files_sequential(str(images), str(out), overwrite=False)


def main() -> None:
    """Train and predict; one thread, as the process that started this says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--seconds", type=float)
    end.add_argument("--patches", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    trainer = make_trainer(given.dataset)
    budget = Budget(seconds=given.seconds, patches=given.patches)
    spent = trainer.train_until(budget, given.out / "checkpoint.pth", given.seed)
    predict(trainer, given.images, given.out / "predictions")
    (given.out / "spent.json").write_text(json.dumps(asdict(spent)), encoding="utf-8")


if __name__ == "__main__":
    main()
