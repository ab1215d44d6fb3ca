"""The training loop, in the order things happen."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from simcvd.data.cache import Cache
from simcvd.files import LOCK
from simcvd.inference.compute import Compute
from simcvd.inference.model import DESCRIPTION, save_model
from simcvd.inference.pseudo_labels import Labelling, label_unlabelled, pseudo_label
from simcvd.locks import locked
from simcvd.methods.base import Average, Method, frozen_copy
from simcvd.methods.registry import find, named
from simcvd.networks.autocast import autocast_dtype
from simcvd.networks.base import Architecture
from simcvd.networks.build import CustomNetwork, Factory
from simcvd.networks.compiled import compile_networks
from simcvd.torch_state import left_as_found
from simcvd.training.checkpoint import load_latest, save_checkpoint
from simcvd.training.faults import check_weights
from simcvd.training.graph import GraphedSteps, fits_graph
from simcvd.training.log import RunLog, tensorboard
from simcvd.training.optim import build_optimizers, restore_optimizer
from simcvd.training.progress import ProgressLine
from simcvd.training.recipes import PAPER, Recipe
from simcvd.training.run import (
    Run,
    Split,
    base_of,
    model_spec,
    network_arguments,
    open_folder,
    resolve,
)
from simcvd.training.settings import TrainConfig
from simcvd.training.setup import (
    build_method,
    launch,
    mix,
    network_of,
    patches_of,
    precision_of,
    say_padded,
)
from simcvd.training.start import Start, load_starts, read_start
from simcvd.training.step import Learner, Row
from simcvd.training.stop import Interrupted, StopRequest
from simcvd.types import Progress, SimcvdError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_EVERY = 10
# To wait for the process that a killed command had started, which ends after its step.
LOCK_SECONDS = 60.0
BASE, PSEUDO_LABELS = "base", "pseudo_labels"  # folders inside a run's
# Between checkpoints; tests shorten it.
CHECKPOINT_SECONDS = float(os.environ.get("SIMCVD_CHECKPOINT_SECONDS", "60"))


@left_as_found()
def train(
    cache: Path,
    out: Path,
    *,
    method: str | type[Method] = "simcvd",
    labeled: int,
    settings: Iterable[str] = (),
    train: TrainConfig | None = None,
    network: Architecture | Factory | None = None,
    recipe: Recipe = PAPER,
    init: Sequence[Path] = (),
    scans: Split | None = None,
    board: bool = False,
) -> Path:
    """Train in ``out``, or go on there from the last checkpoint; returns the run's folder.

    With ``train.base`` and no ``init`` the method's supervised bases are trained first, in
    ``out/base`` and beside it. A method that learns from pseudo-labels starts from fresh weights;
    ``init``, or its bases, label the unlabelled scans for it, in ``out/pseudo_labels``.

    Args:
        cache: a folder that ``simcvd prepare`` wrote.
        out: the run's folder; the same call again resumes, bit-exactly on CPU.
        method: a name (:mod:`simcvd.methods.registry`), a class, or ``package.module:Class``.
        labeled: how many training scans count as labelled, from the top of the list.
        settings: ``group.field=value`` over ``method``, ``train``, ``augment`` and ``network``.
        network: settings of a built-in network, or a function or class that makes another.
        recipe: where the settings begin.
        init: finished runs or exported models whose weights its networks start from, one each.
        scans: names of the labelled, unlabelled and held-out scans, in place of counts.
        board: log for TensorBoard as well.

    Raises:
        SimcvdError: settings that do not fit the data or the folder; a term that is not finite.
        Interrupted: on SIGTERM or SIGINT, after a checkpoint.
    """
    data = Cache(cache)
    size = (
        network
        if network is None or isinstance(network, Architecture)
        else CustomNetwork(factory=network)
    )
    run = resolve(
        data,
        method=named(method),
        labeled=labeled,
        settings=settings,
        train=train,
        network=size,
        recipe=recipe,
        scans=scans,
    )
    starts = [read_start(path, network_of(run)) for path in init]
    run = dataclasses.replace(run, init="+".join(start.digest for start in starts))
    own = isinstance(size, CustomNetwork)  # whose heads nobody knows
    fabric = launch(leaves_unused=own or find(run.method).leaves_unused)
    # First, because it may refuse: a folder of refused settings would refuse the corrected ones.
    writer = tensorboard() if board else None
    trainer = Trainer(fabric, run, data, out, writer)
    taught = trainer.method.pseudo_labels
    fresh = trainer.start_from(starts) if starts and not taught else ""
    busy = f"{out}: another training works here; let it end, or give another --out."
    alone = locked(out / LOCK, busy, wait=LOCK_SECONDS)
    with alone if fabric.is_global_zero else nullcontext():
        if fabric.is_global_zero:
            open_folder(out, run, data)
            say_padded(trainer.patches)
            print(fresh, end="\n" if fresh else "", flush=True)
        fabric.barrier()
        if run.train.base and not starts:
            bases = [base_of(run, number) for number in range(trainer.method.bases)]
            places = [out / BASE, *(out / f"{BASE}_{n}" for n in range(1, len(bases)))]
            starts = [
                _base(fabric, *pair, data, writer) for pair in zip(bases, places, strict=True)
            ]
            if not taught:
                trainer.start_from(starts)
        if taught:
            trainer.learn_from([start.path for start in starts], data)
        _finish(trainer, data)
    return out


def _base(fabric: Fabric, base: Run, folder: Path, cache: Cache, board: Any) -> Start:
    """The weights of the base in ``folder``, which is trained first if it is not there."""
    if not (folder / DESCRIPTION).exists():
        trainer = Trainer(fabric, base, cache, folder, board)
        if fabric.is_global_zero:
            open_folder(folder, base, cache)
        fabric.barrier()
        _finish(trainer, cache)
    return read_start(folder, network_of(base))


def _finish(trainer: Trainer, cache: Cache) -> None:
    """Train to the end from wherever the run stands, and write the model."""
    trainer.restore()
    trainer.fit()
    if trainer.fabric.is_global_zero:
        spec = model_spec(trainer.run, cache, distance=trainer.method.distance)
        save_model(trainer.out, trainer.tested, spec)
    trainer.fabric.barrier()


class Trainer:
    """One run in one process, at step 0 until :meth:`restore`.

    board: as `RunLog` takes it. tested: the network that is scored and exported: the method's, or
    its average.
    Raises SimcvdError for a method, network or batch that cannot work; nothing is written before.
    """

    def __init__(
        self, fabric: Fabric, run: Run, cache: Cache, out: Path, board: Any = None
    ) -> None:
        self.fabric, self.run, self.out, self.board = fabric, run, out, board
        self.method = build_method(run).to(fabric.device)
        self.optimizers = build_optimizers(self.method, run.train)
        self.patches = patches_of(fabric, run, cache, self.method)
        self.dtype = autocast_dtype(precision_of(run, self.method, fabric.device), fabric.device)
        self.step, self.seconds = 0, 0.0
        wrapped = fabric.setup(self.method, *self.optimizers.values())
        terms_of = wrapped[0] if isinstance(wrapped, tuple) else wrapped
        terms_of.mark_forward_method("later")
        if fabric.device.type == "cuda":
            compile_networks(self.method)
        self.averages, self.tested = self.method.averages(), self.method.network
        if run.train.average:
            self.tested = frozen_copy(self.method.network)
            mean = Average(self.tested, self.method.network, run.train.average, statistics=True)
            self.averages = [*self.averages, mean]
        self.learner = Learner(
            self.method,
            run.train,
            optimizers=self.optimizers,
            averages=self.averages,
            dtype=self.dtype,
            terms_of=terms_of,
            backward=fabric.backward,
        )
        graphs = fits_graph(self.learner)
        self.take = GraphedSteps(self.learner).step if graphs else self.learner.step

    def start_from(self, starts: Sequence[Start]) -> str:
        """Take these weights into networks and averages; returns what stays fresh."""
        fresh = load_starts(self.method.built, starts, network_arguments(self.run))
        for average, source, *_ in self.averages:
            average.load_state_dict(source.state_dict())
        return fresh

    def learn_from(self, teachers: Sequence[Path], cache: Cache) -> None:
        """Have finished runs label the unlabelled scans, unless they have, for `Batch.target`."""
        if not teachers:
            raise SimcvdError(
                f"{self.run.method} learns from pseudo-labels and no trained model is there to "
                "make them; give one with --init, or set train.base"
            )
        folder = self.out / PSEUDO_LABELS
        if self.fabric.is_global_zero:
            label_unlabelled(
                *(teachers, cache, self.run.unlabeled, folder),
                how=Labelling(
                    threshold=self.run.config.threshold,
                    flip="".join("xyz"[axis] for axis in sorted(self.run.augment.mirror)),
                ),
                compute=Compute(device=self.fabric.device),
                network=network_of(self.run),
            )
        self.fabric.barrier()
        found = {name: pseudo_label(folder, name) for name in self.run.unlabeled}
        self.patches.open_targets(found)

    def fit(self) -> None:
        """Train from where the run stands to its end."""
        total = self.run.train.iterations
        if self.step >= total:
            return
        stop, told = StopRequest(), set[str]()
        log = RunLog(self.out, self.step, self.board) if self.fabric.is_global_zero else None
        progress = ProgressLine(self.step, total, enabled=self.fabric.is_global_zero)
        saved = started = time.monotonic()
        before = self.seconds
        with stop, progress:
            while self.step < total:
                row = self.train_step()
                self.seconds = before + time.monotonic() - started
                if self.step % LOG_EVERY == 0 or self.step == total:
                    self._refuse_faults()
                    if log:
                        self._log(row, log, progress, told)
                if stop.asked(self.fabric):
                    break
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
            self.save()  # where a second signal is not the end of it
            stopped = stop.asked(self.fabric)
        if log:
            log.close()
        if stopped:
            raise Interrupted(
                f"stopped at step {self.step} of {total}, checkpoint written; "
                "re-run the same command to resume"
            )

    def _log(
        self,
        row: Row,
        log: RunLog,
        progress: ProgressLine,
        told: set[str],
    ) -> None:
        """Write and show a step's numbers, and the notes that have not been told yet."""
        row = row | {f"log/{name}": value for name, value in self.method.logged().items()}
        scalars = {name: float(value) for name, value in row.items()}
        log.write({"step": self.step, "seconds": round(self.seconds, 3), **scalars})
        progress.show(self.step, scalars)
        for note in self.method.notes():
            if note not in told:
                told.add(note)
                print(f"\nwarning: step {self.step}: {note}", flush=True)

    def train_step(self) -> Row:
        """Draw a batch and learn from it; returns what is logged.

        A term that is not finite is refused by `fit`.
        """
        config = self.run.train
        drawn = config.base + self.step  # what its base has drawn is not drawn again
        # Every random number is a function of (seed, step, process): resuming needs no state.
        torch.manual_seed(mix(config.seed, drawn, self.fabric.global_rank))
        batch = self.patches.batch(drawn)
        row = self.take(batch, Progress(step=self.step, total=config.iterations))
        self.step += 1
        return row

    def save(self) -> None:
        """Write a checkpoint; every process holds the same state, so one of them writes."""
        self._refuse_faults()
        if self.fabric.is_global_zero:
            weights = self.method.state_dict()
            check_weights(weights, self.step)
            state: dict[str, Any] = {
                "seconds": self.seconds,
                "method": weights,
                "tested": self.tested.state_dict() if self.run.train.average else {},
                "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            }
            save_checkpoint(self.out / "checkpoints", self.step, state)

    def restore(self) -> None:
        """Go to the newest checkpoint in the run's folder, if there is one."""
        state = load_latest(self.out / "checkpoints", self.fabric.device)
        if state is None:
            return
        self.step, self.seconds = state["step"], state["seconds"]
        self.method.load_state_dict(state["method"])
        if self.run.train.average:
            self.tested.load_state_dict(state["tested"])
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, state["optimizers"][name])

    def _refuse_faults(self) -> None:
        base = self.run.train.base
        self.learner.faults.refuse(lambda step: self.patches.streams.cases(base + step))
